/** Parts of a `package-lock.json`: for `npm ci` of what one program needs, in the versions that were tested. */

export interface LockedPackage {
  readonly version?: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
  readonly [key: string]: unknown
}

export interface Lock {
  readonly name?: string
  readonly version?: string
  readonly lockfileVersion: number
  readonly packages: Readonly<Record<string, LockedPackage>>
}

export interface PackageFile {
  readonly name: string
  readonly version: string
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly [key: string]: unknown
}

export interface Subset {
  readonly package: PackageFile
  readonly lock: Lock
}

/**
 * The package file and lock for some of a package's dependencies.
 * @param needless dependencies of these packages that are left out, by package
 */
export function subsetOf(
  file: PackageFile,
  lock: Lock,
  names: Iterable<string>,
  needless: Readonly<Record<string, readonly string[]>> = {},
): Subset {
  const wanted = { ...file.devDependencies, ...file.dependencies }
  const dependencies = Object.fromEntries(
    [...names].sort().map((name) => {
      const range = wanted[name]
      if (range === undefined) throw new Error(`${name} is imported, and package.json does not name it.`)
      return [name, range]
    }),
  )
  const own = {
    name: file.name,
    version: file.version,
    license: file.license,
    type: file.type,
    private: true,
    dependencies,
    ...(file.overrides === undefined ? {} : { overrides: file.overrides }),
  }
  const packages: Record<string, LockedPackage> = {
    '': { name: file.name, version: file.version, license: file.license, dependencies } as LockedPackage,
  }
  const queue = Object.keys(dependencies).map((name) => ({ name, from: '', optional: false }))
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const { name, from, optional } = next
    const place = placeOf(lock, from, name)
    if (place === undefined) {
      if (optional) continue
      throw new Error(`package-lock.json has no ${name} for ${from || 'the root'}. Run "npm install".`)
    }
    if (packages[place] !== undefined) continue
    const entry = without(lock.packages[place] as LockedPackage, needless[name] ?? [])
    packages[place] = entry
    const peers = Object.keys(entry.peerDependencies ?? {}).filter(
      (peer) => entry.peerDependenciesMeta?.[peer]?.optional !== true,
    )
    for (const needed of [...Object.keys(entry.dependencies ?? {}), ...peers])
      queue.push({ name: needed, from: place, optional: false })
    for (const needed of Object.keys(entry.optionalDependencies ?? {}))
      queue.push({ name: needed, from: place, optional: true })
  }
  const sorted = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => (a < b ? -1 : 1)))
  return {
    package: own as PackageFile,
    lock: {
      name: file.name,
      version: file.version,
      lockfileVersion: lock.lockfileVersion,
      requires: true,
      packages: sorted,
    } as Lock,
  }
}

/** Where Node finds a package from another: beside it, or nearer to the root. */
function placeOf(lock: Lock, from: string, name: string): string | undefined {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const place = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`
    if (Object.hasOwn(lock.packages, place)) return place
    if (folder === '') return undefined
  }
}

function without(entry: LockedPackage, names: readonly string[]): LockedPackage {
  const { dev: _dev, ...rest } = entry
  if (names.length === 0) return rest
  const less = (list: Readonly<Record<string, string>> | undefined) =>
    list && Object.fromEntries(Object.entries(list).filter(([name]) => !names.includes(name)))
  return {
    ...rest,
    dependencies: less(rest.dependencies),
    optionalDependencies: less(rest.optionalDependencies),
  }
}
