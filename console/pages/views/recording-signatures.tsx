import type { Span } from './recorded-day.ts'

export function RecordingSignatures(_: { readonly camera: string; readonly span: Span }) {
  return null
}
