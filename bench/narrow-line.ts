import { spawnSync } from 'node:child_process'

/**
 * A site behind a slow uplink, in network namespaces of this machine (Linux, as root):
 *
 *     here ── router ══ 10 Mbit/s, its queue ══▶ cloud      and back with the rest of the round trip
 *     here ───────────── as fast as it gets ──── cloud      for whoever measures
 *
 * The queue is the router's, as behind a real one: the sender's own TCP does not see it.
 */
export interface NarrowLineOptions {
  readonly bitsPerSecond: number
  /** What the router's queue holds, ms at that rate. */
  readonly queueMs: number
  readonly roundTripMs: number
}

export class NarrowLine implements Disposable {
  /** A command that runs a program at the far end. */
  readonly under: readonly string[]
  /** The far end over the line, and beside it. */
  readonly address: string
  readonly addressBeside: string
  hasRoundTrip = false
  readonly #router: string
  readonly #cloud: string

  private constructor(name: string, net: string) {
    this.#router = `${name}r`
    this.#cloud = `${name}c`
    this.under = ['ip', 'netns', 'exec', this.#cloud]
    this.address = `${net}.2.2`
    this.addressBeside = `${net}.3.2`
  }

  /** @returns why there is none, where it takes more rights than there are */
  static open({ bitsPerSecond, queueMs, roundTripMs }: NarrowLineOptions): NarrowLine | string {
    const name = `sl${process.pid % 10_000}`
    const net = `10.${200 + (process.pid % 50)}`
    const line = new NarrowLine(name, net)
    const [router, cloud] = [`${name}r`, `${name}c`]
    const commands = [
      `ip netns add ${router}`,
      `ip netns add ${cloud}`,
      `ip link add ${name}a type veth peer name eth0 netns ${router}`,
      `ip link add ${name}b netns ${router} type veth peer name eth0 netns ${cloud}`,
      `ip link add ${name}d type veth peer name eth1 netns ${cloud}`,
      `ip addr add ${net}.1.1/24 dev ${name}a`,
      `ip addr add ${net}.3.1/24 dev ${name}d`,
      `ip link set ${name}a up`,
      `ip link set ${name}d up`,
      `ip -n ${router} addr add ${net}.1.2/24 dev eth0`,
      `ip -n ${router} addr add ${net}.2.1/24 dev ${name}b`,
      `ip -n ${router} link set eth0 up`,
      `ip -n ${router} link set ${name}b up`,
      `ip -n ${cloud} addr add ${net}.2.2/24 dev eth0`,
      `ip -n ${cloud} addr add ${net}.3.2/24 dev eth1`,
      `ip -n ${cloud} link set eth0 up`,
      `ip -n ${cloud} link set eth1 up`,
      `ip -n ${cloud} link set lo up`,
      `ip netns exec ${router} sysctl -qw net.ipv4.ip_forward=1`,
      `ip route add ${net}.2.0/24 via ${net}.1.2`,
      `ip -n ${cloud} route add ${net}.1.0/24 via ${net}.2.1`,
      `tc -n ${router} qdisc add dev ${name}b root tbf rate ${bitsPerSecond}bit burst 4kb latency ${queueMs}ms`,
    ]
    for (const command of commands) {
      const [program = '', ...args] = command.split(' ')
      const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' })
      if (status === 0) continue
      line[Symbol.dispose]()
      return `${command}: ${error?.message ?? stderr.trim()}`
    }
    // Not every kernel has this one: then the round trip is that of an empty wire.
    const delay = `-n ${cloud} qdisc add dev eth0 root netem delay ${roundTripMs}ms`
    line.hasRoundTrip = spawnSync('tc', delay.split(' ')).status === 0
    return line
  }

  [Symbol.dispose](): void {
    // With the namespaces go their ends of the cables, and with those the cables.
    for (const name of [this.#router, this.#cloud]) spawnSync('ip', ['netns', 'delete', name])
  }
}
