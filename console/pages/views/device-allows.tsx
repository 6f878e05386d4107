import type { DesiredContent, Reported } from '../device-types.ts'
import { may } from '../session.ts'
import { count } from '../words.ts'

/** What a device may be told from afar, and what to change in its own file for more. */
export function DeviceAllows({
  allows,
  address,
  streams = {},
}: {
  readonly allows: Reported['allows']
  readonly address: { readonly site: string; readonly device: string }
  readonly streams?: DesiredContent['streams']
}) {
  return (
    <section aria-labelledby="allows">
      <h2 id="allows">What it allows</h2>
      <dl class="facts">
        <dt>Settings</dt>
        <dd>
          Those of its cameras, its detector and its classifiers, always. Its plugins, files and folders,
          never.
        </dd>
        <dt>Cameras</dt>
        <dd>
          {allows.cameras ? (
            <>
              May be added and removed
              {allows.networks.length === 0 ? (
                <>, but at no address of its own network.</>
              ) : (
                <>, at public addresses and at {allows.networks.join(', ')}.</>
              )}
              {allows.networks.length === 0 && (
                <File lines={['remote:', '  desired:', '    networks: [192.168.1.0/24]']} />
              )}
            </>
          ) : (
            <>
              May not be added or removed from here.
              <File
                lines={['remote:', '  desired:', '    cameras: true', '    networks: [192.168.1.0/24]']}
              />
            </>
          )}
        </dd>
        <dt>Streams</dt>
        <dd>
          {allows.streams ? (
            <>
              May be added and removed from here
              {Object.keys(streams).length > 0 &&
                `; it was told of ${count(Object.keys(streams).length, 'stream')}`}
              . {may('streams') && <a href="/streams">To the streams</a>}
            </>
          ) : (
            <>
              May not be added or removed from here.
              <File lines={['listen:', '  remote: true', '  streamsFile: streams.yaml']} />
            </>
          )}
        </dd>
        <dt>Models by address</dt>
        <dd>
          {allows.models ? (
            'May be brought from here; it fetches them itself.'
          ) : (
            <>
              May not be brought from here.
              {allows.models === false && <File lines={['remote:', '  desired:', '    models: true']} />}
            </>
          )}
        </dd>
        <dt>Signature</dt>
        <dd>
          {allows.signed
            ? 'It takes only what is signed by this console.'
            : 'It takes what comes over its broker, signed or not.'}
        </dd>
      </dl>
      {(!allows.cameras || !allows.streams) && (
        <p class="muted">
          The lines go into device.yaml on {address.site}/{address.device}, which then has to be started
          again.
        </p>
      )}
    </section>
  )
}

const File = ({ lines }: { readonly lines: readonly string[] }) => (
  <pre class="device-file">{lines.join('\n')}</pre>
)
