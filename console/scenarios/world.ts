import type { CameraAddress } from '../../wire/topics.ts'
import type { Context } from '../context.ts'
import type { World } from './check.ts'
import { labelsBy } from './selection.ts'

/** What there is now, for who looks at a document before it holds. Errors: those of the database. */
export async function worldOf({
  fleet,
  documents,
  scenarios,
  desired,
}: Pick<Context, 'fleet' | 'documents' | 'scenarios' | 'desired'>): Promise<World> {
  const channels = await documents.list('channel')
  const { devices, published } = scenarios
  const cameras = new Map<string, CameraAddress>()
  const add = (address: CameraAddress) =>
    cameras.set(`${address.site}/${address.device}/${address.camera}`, address)
  for (const { site, device, camera } of fleet.cameras) add({ site, device, camera })
  const labels = new Set<string>()
  for (const [path, { content, labels: own, cameraLabels }] of devices) {
    const [site = '', device = ''] = path.split('/')
    for (const label of [...own, ...Object.values(cameraLabels).flat()]) labels.add(label)
    // Those that are to come.
    for (const [camera, { source }] of Object.entries(content.cameras ?? {}))
      if (source !== undefined) add({ site, device, camera })
    for (const camera of Object.keys(content.streams ?? {})) add({ site, device, camera })
  }
  return {
    cameras: [...cameras.values()],
    devices: [
      ...fleet.devices,
      ...[...devices.keys()].map((path) => {
        const [site = '', device = ''] = path.split('/')
        return { site, device }
      }),
    ],
    labelsOf: labelsBy(devices),
    labels,
    channels: new Set(channels.map(({ id }) => id)),
    reportedOf: (site, device) => desired?.answer({ site, device })?.reported,
    documentOf: (site, device) => devices.get(`${site}/${device}`),
    signs: desired?.signs ?? false,
    published,
    nowMs: Date.now(),
  }
}
