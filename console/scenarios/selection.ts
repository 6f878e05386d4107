import type { CameraAddress } from '../../wire/topics.ts'
import type { DeviceDocument, Selection } from './document.ts'

/** Which cameras a scenario is about. Pure. */

/** What a camera is called by operators: its device's labels, and its own. */
export type LabelsOf = (camera: CameraAddress) => readonly string[]

export const labelsBy =
  (documents: ReadonlyMap<string, DeviceDocument>): LabelsOf =>
  ({ site, device, camera }) => {
    const document = documents.get(`${site}/${device}`)
    if (!document) return []
    const own = Object.hasOwn(document.cameraLabels, camera) ? document.cameraLabels[camera] : undefined
    return [...document.labels, ...(own ?? [])]
  }

export function isSelected(selection: Selection, camera: CameraAddress, labelsOf: LabelsOf): boolean {
  const { all, sites = [], devices = [], cameras = [], labels = [] } = selection
  const { site, device } = camera
  const namesNone = sites.length + devices.length + cameras.length === 0
  const isNamed =
    all === true ||
    (namesNone && labels.length > 0) ||
    sites.includes(site) ||
    devices.includes(`${site}/${device}`) ||
    cameras.includes(pathOf(camera))
  return isNamed && (labels.length === 0 || labelsOf(camera).some((label) => labels.includes(label)))
}

export const pathOf = ({ site, device, camera }: CameraAddress): string => `${site}/${device}/${camera}`
