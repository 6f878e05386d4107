import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net'
import { WHIP_CANDIDATES_MAX, WHIP_LINES_MAX, WHIP_MEDIA_MAX, WHIP_PAYLOAD_TYPES_MAX } from '../limits.ts'

/** What publishers offer (SDP, RFC 8866), and what is answered. Pure. */

export interface Offer {
  /** Without what is not gone into: simulcast, candidates that no packet can be sent to. */
  readonly sdp: string
  readonly video: 'h264' | 'vp8'
  /** Channels of Opus; undefined: no sound. */
  readonly audio: 1 | 2 | undefined
}

export interface OfferRules {
  /** Publishers may be on this very machine. */
  readonly loopback: boolean
}

/** @returns `wrong`: in a sentence for the publisher, which repeats nothing of what it sent */
export function readOffer(
  text: string,
  { loopback }: OfferRules = { loopback: false },
): Offer | { readonly wrong: string } {
  const lines = text.split(/\r?\n/).filter((line) => line !== '')
  if (lines[0] !== 'v=0') return { wrong: 'This is no SDP offer: it does not begin with "v=0".' }
  // The library compares many of them with many others.
  if (lines.length > WHIP_LINES_MAX)
    return { wrong: `The offer has ${lines.length} lines. It may have ${WHIP_LINES_MAX}.` }
  const starts = lines.flatMap((line, index) => (line.startsWith('m=') ? [index] : []))
  if (starts.length === 0) return { wrong: 'The offer has no media. Send one video, and at most one audio.' }
  if (starts.length > WHIP_MEDIA_MAX)
    return { wrong: `The offer has ${starts.length} media. Send one video, and at most one audio.` }
  const media = starts.map((start, index) => lines.slice(start, starts[index + 1]))
  const of = (kind: string) => media.filter(([head]) => head?.startsWith(`m=${kind} `))
  const [videos, audios] = [of('video'), of('audio')]
  const [video] = videos
  if (!video || videos.length > 1 || audios.length > 1 || media.length > videos.length + audios.length)
    return { wrong: 'The offer must have one video, at most one audio, and nothing else.' }
  if (media.some(hasTooManyTypes))
    return { wrong: `The offer has more than ${WHIP_PAYLOAD_TYPES_MAX} payload types for one media.` }
  const missing = media.some((section) => !isWhole(lines.slice(0, starts[0]), section))
  if (missing)
    return {
      wrong: 'The offer lacks what every WebRTC publisher sends: ice-ufrag, ice-pwd, fingerprint, mid.',
    }
  const codec = codecOf(video)
  if (!codec) return { wrong: 'The offer has neither H.264 nor VP8. Choose one of them in the publisher.' }
  const opus = audios[0]?.find((line) => /^a=rtpmap:\d{1,3} opus\/48000(\/2)?$/i.test(line))
  if (audios.length > 0 && opus === undefined)
    return { wrong: 'The offer has sound, but not as Opus. Choose Opus, or publish without sound.' }
  if ([...videos, ...audios].some((section) => section.some((line) => /^a=(recvonly|inactive)$/.test(line))))
    return { wrong: 'The offer asks for media instead of sending it: that would be WHEP.' }
  let candidates = 0
  const kept = lines.filter((line) => {
    if (/^a=(simulcast|rid|ssrc-group:SIM)\b/.test(line)) return false
    if (!line.startsWith('a=candidate:')) return true
    candidates += 1
    return candidates <= WHIP_CANDIDATES_MAX && isReachable(line, loopback)
  })
  return { sdp: `${kept.join('\r\n')}\r\n`, video: codec, audio: opus === undefined ? undefined : 2 }
}

function isWhole(session: readonly string[], media: readonly string[]): boolean {
  const has = (pattern: RegExp) => [...media, ...session].some((line) => pattern.test(line))
  return (
    media.some((line) => /^a=mid:[\w.-]{1,32}$/.test(line)) &&
    has(/^a=ice-ufrag:\S{4,256}$/) &&
    has(/^a=ice-pwd:\S{22,256}$/) &&
    has(/^a=fingerprint:sha-\d{3} [0-9A-F:]{59,191}$/i)
  )
}

function hasTooManyTypes([head = '', ...lines]: readonly string[]): boolean {
  const maps = lines.filter((line) => line.startsWith('a=rtpmap:'))
  return Math.max(head.split(' ').length - 3, maps.length) > WHIP_PAYLOAD_TYPES_MAX
}

/** Which one the publisher likes best. */
function codecOf([head = '', ...lines]: readonly string[]): Offer['video'] | undefined {
  const names = new Map<string, string>()
  for (const line of lines) {
    const [, type, name] = /^a=rtpmap:(\S+) (\S+)/.exec(line) ?? []
    if (type !== undefined && name !== undefined && !names.has(type)) names.set(type, name.toLowerCase())
  }
  const [, , , ...types] = head.split(' ')
  for (const type of types) {
    const name = names.get(type)
    if (name === 'h264/90000') return 'h264'
    if (name === 'vp8/90000') return 'vp8'
  }
  return undefined
}

/**
 * Addresses that no publisher has, to none of which the agent is to send at a stranger's word. Those of the network behind it
 * it cannot tell from a publisher's.
 */
const NOBODYS = new BlockList()
NOBODYS.addSubnet('0.0.0.0', 8, 'ipv4')
NOBODYS.addSubnet('224.0.0.0', 3, 'ipv4') // multicast, reserved, broadcast
NOBODYS.addAddress('::', 'ipv6')
NOBODYS.addSubnet('ff00::', 8, 'ipv6') // multicast
const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

/** An address with UDP. Names (mDNS) are not looked up: whoever has one is found by the packets that it sends. */
function isReachable(line: string, loopback: boolean): boolean {
  const [, , protocol, , address = '', port = ''] = line.split(' ')
  const family = isIPv4(address) ? 'ipv4' : 'ipv6'
  if (protocol?.toLowerCase() !== 'udp' || isIP(address) === 0) return false
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) return false
  return !NOBODYS.check(address, family) && (loopback || !LOOPBACK.check(address, family))
}

/** The answer with the addresses by which a firewall lets others in, each with the ports that this machine listens on. */
export function withPublicAddresses(sdp: string, addresses: readonly string[]): string {
  return sdp
    .split('\r\n')
    .flatMap((line) => {
      const parts = line.split(' ')
      if (!line.startsWith('a=candidate:') || parts[6] !== 'typ' || parts[7] !== 'host') return [line]
      const isSix = isIPv6(parts[4] ?? '')
      const more = addresses
        .filter((address) => isIPv6(address) === isSix)
        .map((address, index) => {
          const [first = '', ...rest] = parts
          // Of another foundation, and before the local ones.
          return [`${first}p${index}`, ...rest.with(3, address)].join(' ')
        })
      return [...more, line]
    })
    .join('\r\n')
}
