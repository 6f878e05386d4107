import type { Notice } from '../notice-types.ts'

const WORDS = { problem: 'Problem', warning: 'Warning', info: 'Note' } as const
const TONES = { problem: 'bad', warning: 'late', info: 'quiet' } as const

export function NoticeLevel({ level }: Pick<Notice, 'level'>) {
  return (
    <span class="tone" data-tone={TONES[level]}>
      <span class="dot" />
      {WORDS[level]}
    </span>
  )
}
