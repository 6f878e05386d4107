import type { Finding } from './chain.ts'

/** A finding in a sentence, for people. May hold names of files: not for a terminal as it is. */
export function sayFinding(finding: Finding): string {
  switch (finding.is) {
    case 'begins':
      return finding.known
        ? `Begins with the first that the device signed, at ${iso(finding.file.capturedAtMs)}.`
        : `Begins at ${iso(finding.file.capturedAtMs)}; the one before is not among these files.`
    case 'missing': {
      const { after, before, count, altered, stated } = finding
      const many =
        count === undefined ? 'At least one file is' : count === 1 ? 'One file is' : `${count} files are`
      const between = `between ${after.at} (${iso(after.capturedAtMs)}) and ${before.at} (${iso(before.capturedAtMs)})`
      const why = stated
        ? ' The device says that it lost them.'
        : altered > 0
          ? ` ${altered} from that time ${altered === 1 ? 'is' : 'are'} here, but not as signed.`
          : ''
      return `${many} missing ${between}.${why}`
    }
    case 'reordered':
      return `${finding.file.at} was made before ${finding.before.at}, but stands after it.`
    case 'duplicate':
      return `${finding.file.at} is a copy of ${finding.of}.`
    case 'forked':
      return `${finding.file.at} (${iso(finding.file.capturedAtMs)}) and another name the same file before them: the device lost power. Whether anything is missing between them cannot be told.`
    case 'anew':
      return `The chain begins anew at ${finding.file.at} (${iso(finding.file.capturedAtMs)}): the device had lost what it signed before. Whether anything is missing there cannot be told.`
    case 'gap':
      return `Nothing was recorded ${finding.fromMs === null ? 'before' : `from ${iso(finding.fromMs)} to`} ${iso(finding.toMs)}, the device says: ${finding.why}.`
  }
}

const iso = (ms: number) => new Date(ms).toISOString()
