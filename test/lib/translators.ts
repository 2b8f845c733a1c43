/** Client volfiles of a volume with other performance translators than the administrator set. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { formatVolfile, parseVolfile, type VolumeDefinition } from '../../src/graph/volfile.ts'
import { space, type Volume } from './sandbox.ts'

/** As glusterd stacks them, the lowest first. */
export const PERFORMANCE = [
  'write-behind',
  'read-ahead',
  'readdir-ahead',
  'io-cache',
  'open-behind',
  'quick-read',
  'nl-cache',
  'md-cache',
  'io-threads',
] as const

export type Performance = (typeof PERFORMANCE)[number]
/** Options by translator; those that are absent are not loaded. */
export type Choice = Partial<Record<Performance, Readonly<Record<string, string>>>>

/** Writes the volume's client volfile with these performance translators; gives its path. */
export function volfileWith(volume: Volume, name: string, choice: Choice): string {
  const source = `/var/lib/glusterd/vols/${volume.name}/trusted-${volume.name}.tcp-fuse.vol`
  const given = parseVolfile(readFileSync(source, 'latin1'), source)
  const volumes: VolumeDefinition[] = []
  /** What stands in the place of a translator that is left out. */
  const instead = new Map<string, string>()
  for (const one of given.volumes.slice(0, -1)) {
    const subvolumes = one.subvolumes.map((below) => instead.get(below) ?? below)
    if (one.type.startsWith('performance/')) instead.set(one.name, subvolumes[0]!)
    else volumes.push({ ...one, subvolumes })
  }
  const top = given.volumes.at(-1)!
  for (const type of PERFORMANCE) {
    const options = choice[type]
    if (options === undefined) continue
    volumes.push({
      name: `${volume.name}-${type}`,
      type: `performance/${type}`,
      options: new Map(Object.entries(options)),
      subvolumes: [volumes.at(-1)!.name],
      line: 0,
    })
  }
  volumes.push({ ...top, subvolumes: [volumes.at(-1)!.name] })
  mkdirSync(space('volfiles'), { recursive: true })
  const path = space(`volfiles/${volume.name}-${name}.vol`)
  writeFileSync(path, formatVolfile(volumes))
  return path
}
