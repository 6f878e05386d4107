import type { Readable } from 'node:stream'
import { pack } from 'tar-stream'
import { OWNER } from './compose.ts'
import { type Engine, orNone } from './engine.ts'
import { DEPLOYMENT, HELPER, KIND, type Kind, ROLE } from './names.ts'
import { untar } from './untar.ts'

/**
 * Volumes are written and read through a container that has them and is never started. Files come as a tar archive, with
 * owner and mode, and nothing of them is in an image, in the environment or in a label.
 */

/** A file that its owner alone may read. */
const SECRET_MODE = 0o400
const FOLDER_MODE = 0o700

export interface Deployment {
  readonly name: string
  readonly kind: Kind
}

export const labelsOf = ({ name, kind }: Deployment, role: string): Record<string, string> => ({
  [DEPLOYMENT]: name,
  [KIND]: kind,
  [ROLE]: role,
})

export class Volumes {
  readonly #engine: Engine
  readonly #deployment: Deployment
  /** Any image that is on the engine. */
  readonly #image: string

  constructor(engine: Engine, deployment: Deployment, image: string) {
    this.#engine = engine
    this.#deployment = deployment
    this.#image = image
  }

  async exists(name: string): Promise<boolean> {
    const { docker } = this.#engine
    const found = await this.#engine.do(`looking for the volume ${name}`, () =>
      orNone(docker.getVolume(name).inspect()),
    )
    return found !== undefined
  }

  /** A volume that is the programs' user's: made where there is none. */
  async ensure(name: string, role: string): Promise<void> {
    if (!(await this.exists(name))) await this.#create(name, role)
    // Each time: a run that was interrupted may have made it and no more.
    await this.#within(name, (container) =>
      container.putArchive(archive([{ name: 'volume', folder: true }]), { path: '/mnt' }),
    )
  }

  /** Makes a volume with these files, new: what an interrupted run may have left under that name goes first. */
  async write(name: string, role: string, files: Readonly<Record<string, Buffer>>): Promise<void> {
    await this.remove(name)
    await this.#create(name, role)
    await this.put(name, files)
  }

  /** Puts files into a volume that is there. */
  async put(name: string, files: Readonly<Record<string, Buffer>>): Promise<void> {
    const entries = [
      { name: 'volume', folder: true as const },
      ...Object.entries(files).map(([file, content]) => ({ name: `volume/${file}`, content })),
    ]
    await this.#within(name, (container) => container.putArchive(archive(entries), { path: '/mnt' }))
  }

  /** All files of a volume, by name. */
  async read(name: string, bytesMax: number): Promise<Record<string, Buffer>> {
    return this.#within(name, async (container) => {
      const stream = (await container.getArchive({ path: '/mnt/volume' })) as unknown as Readable
      return unpack(stream, bytesMax)
    })
  }

  async remove(name: string): Promise<void> {
    const { docker } = this.#engine
    await this.#engine.do(`removing the volume ${name}`, () => orNone(docker.getVolume(name).remove()))
  }

  async #create(name: string, role: string): Promise<void> {
    await this.#engine.do(`creating the volume ${name}`, () =>
      this.#engine.docker.createVolume({ Name: name, Labels: labelsOf(this.#deployment, role) }),
    )
  }

  async #within<T>(
    volume: string,
    use: (container: ReturnType<Engine['docker']['getContainer']>) => Promise<T>,
  ): Promise<T> {
    const { docker } = this.#engine
    return this.#engine.do(`using the volume ${volume}`, async () => {
      const container = await docker.createContainer({
        Image: this.#image,
        Labels: labelsOf(this.#deployment, HELPER),
        Cmd: ['never-started'],
        HostConfig: {
          NetworkMode: 'none',
          Mounts: [{ Type: 'volume', Source: volume, Target: '/mnt/volume' }],
        },
      })
      try {
        return await use(container)
      } finally {
        // With the volumes that the image declares: they have no name, and nobody would ever remove them.
        await container.remove({ force: true, v: true })
      }
    })
  }
}

type Entry =
  | { readonly name: string; readonly folder: true }
  | { readonly name: string; readonly content: Buffer }

function archive(entries: readonly Entry[]): NodeJS.ReadableStream {
  const tar = pack()
  for (const entry of entries)
    if ('folder' in entry) tar.entry({ name: entry.name, type: 'directory', mode: FOLDER_MODE, ...OWNER }, '')
    else tar.entry({ name: entry.name, mode: SECRET_MODE, ...OWNER }, entry.content)
  tar.finalize()
  return tar
}

/** Files of an archive, without the folder they are in. Rejects where they are more than so much. */
async function unpack(stream: Readable, bytesMax: number): Promise<Record<string, Buffer>> {
  let bytes = 0
  const files = await untar(stream, ({ size = 0 }) => {
    bytes += size
    if (bytes > bytesMax) throw new RangeError(`the volume holds more than ${bytesMax} bytes`)
    return true
  })
  return Object.fromEntries([...files].map(([name, content]) => [name.replace(/^[^/]*\//, ''), content]))
}
