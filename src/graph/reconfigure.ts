/** A changed volfile applied to a running graph whose shape stays the same. */
import { GlusterError } from '../core/errors.ts'
import type { Xlator } from '../core/xlator.ts'
import { logFor } from '../observe/log.ts'
import { type BuildInput, type Graph, givenOptions, typedOptions, withAutoload } from './build.ts'
import type { VolumeDefinition } from './volfile.ts'

/** Same translators by name and type, with the same children in the same order? */
export function sameTopology(
  a: readonly VolumeDefinition[],
  b: readonly VolumeDefinition[],
): boolean {
  const byName = new Map(b.map((volume) => [volume.name, volume]))
  return (
    a.length === b.length &&
    a.at(-1)?.name === b.at(-1)?.name &&
    a.every((volume) => {
      const other = byName.get(volume.name)
      return (
        other !== undefined &&
        other.type === volume.type &&
        other.subvolumes.length === volume.subvolumes.length &&
        other.subvolumes.every((name, index) => name === volume.subvolumes[index])
      )
    })
  )
}

export type ReconfigureInput = Pick<BuildInput, 'volfile' | 'load' | 'overrides' | 'autoload'>

interface Change {
  xl: Xlator
  options: Xlator['options']
  given: Map<string, string>
}

/**
 * Gives every translator the options of the new volfile, children before parents. All are checked
 * before the first is told; a translator that refuses all the same makes those before it go back.
 * Returns how many had options that changed. Throws GlusterError; the graph goes on as it was then.
 * The caller has checked `sameTopology`.
 */
export async function reconfigureGraph(graph: Graph, input: ReconfigureInput): Promise<number> {
  const volumes = withAutoload(input)
  const changes: Change[] = []
  for (const volume of volumes) {
    const xl = graph.find(volume.name)
    // Not there: a performance translator that is passed through.
    const definition = xl === undefined ? undefined : await input.load(volume.type)
    if (xl === undefined || definition === undefined) continue
    const given = givenOptions(volume, input.overrides ?? [])
    if (sameEntries(given, xl.givenOptions)) continue
    changes.push({ xl, options: typedOptions(definition, volume, given), given })
  }
  apply(changes)
  graph.volumes = volumes
  return changes.length
}

function apply(changes: readonly Change[]): void {
  const done: Change[] = []
  for (const { xl, options, given } of changes) {
    const before = { xl, options: xl.options, given: new Map(xl.givenOptions) }
    try {
      xl.reconfigure(options)
      xl.givenOptions = given
      done.push(before)
    } catch (error) {
      if (!(error instanceof GlusterError)) throw error
      logFor('graph').error({ err: error }, `volume '${xl.name}' refuses its new options`)
      for (const old of done.reverse()) {
        old.xl.reconfigure(old.options)
        old.xl.givenOptions = old.given
      }
      throw error
    }
  }
}

function sameEntries(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  if (a.size !== b.size) return false
  for (const [key, value] of a) if (b.get(key) !== value) return false
  return true
}
