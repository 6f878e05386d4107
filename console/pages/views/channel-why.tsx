/** Of an address inside the operator's own network: what has to be added to the console's file. */
export function WhyNotAllowed({ code, why }: { readonly code: string | null; readonly why: string | null }) {
  if (code !== 'ADDRESS_NOT_ALLOWED') return null
  // "name (address) is a private address", or the address alone.
  const host = /^(\S+)/.exec(why ?? '')?.[1] ?? '192.168.1.20'
  return (
    <div class="note">
      <p>
        The console calls no private address unless its operator allows it, so that a channel cannot be used
        to look into your network. To allow this one, add to console.yaml, and start the console again:
      </p>
      <pre class="channel-allow">{`notices:\n  allow: ['${host.replaceAll("'", '')}']`}</pre>
    </div>
  )
}
