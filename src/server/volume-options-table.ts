/**
 * Options of embedded volumes by the names `gluster volume set` gives them, and what each means in
 * the volfiles of clients and bricks. Options without effect on our translators are left out.
 */
import { registry } from '../../xlators/registry.ts'
import { GlusterError } from '../core/errors.ts'
import { resolveOptions } from '../core/options.ts'

/** An option of every translator of a type, in the volfile of bricks or of clients. */
interface Target {
  readonly of: 'brick' | 'client'
  readonly type: string
  /** `{brick}` stands for the brick's path. */
  readonly option: string
}

const client = (type: string, option: string): Target => ({ of: 'client', type, option })
const brick = (type: string, option: string): Target => ({ of: 'brick', type, option })

/** Translators of the client that are there or not: switch, and whether without it. */
const LAYERS: ReadonlyMap<string, readonly [type: string, byDefault: boolean]> = new Map([
  ['performance.write-behind', ['performance/write-behind', true]],
  ['performance.read-ahead', ['performance/read-ahead', false]],
  ['performance.readdir-ahead', ['performance/readdir-ahead', false]],
  ['performance.io-cache', ['performance/io-cache', false]],
  ['performance.open-behind', ['performance/open-behind', true]],
  ['performance.quick-read', ['performance/quick-read', true]],
  ['performance.nl-cache', ['performance/nl-cache', false]],
  ['performance.stat-prefetch', ['performance/md-cache', true]],
  ['performance.client-io-threads', ['performance/io-threads', true]],
])

const TARGETS: ReadonlyMap<string, readonly Target[]> = new Map([
  ['auth.allow', [brick('protocol/server', 'auth.addr.{brick}.allow')]],
  ['auth.reject', [brick('protocol/server', 'auth.addr.{brick}.reject')]],
  ['cluster.lookup-optimize', [client('cluster/distribute', 'lookup-optimize')]],
  ['cluster.min-free-disk', [client('cluster/distribute', 'min-free-disk')]],
  ['cluster.min-free-inodes', [client('cluster/distribute', 'min-free-inodes')]],
  ['cluster.data-self-heal', [client('cluster/replicate', 'data-self-heal')]],
  ['cluster.entry-self-heal', [client('cluster/replicate', 'entry-self-heal')]],
  ['cluster.metadata-self-heal', [client('cluster/replicate', 'metadata-self-heal')]],
  ['cluster.quorum-count', [client('cluster/replicate', 'quorum-count')]],
  ['cluster.quorum-type', [client('cluster/replicate', 'quorum-type')]],
  ['cluster.readdir-optimize', [client('cluster/distribute', 'readdir-optimize')]],
  ['disperse.background-heals', [client('cluster/disperse', 'background-heals')]],
  ['disperse.eager-lock', [client('cluster/disperse', 'eager-lock')]],
  ['disperse.eager-lock-timeout', [client('cluster/disperse', 'eager-lock-timeout')]],
  ['disperse.other-eager-lock', [client('cluster/disperse', 'other-eager-lock')]],
  ['disperse.other-eager-lock-timeout', [client('cluster/disperse', 'other-eager-lock-timeout')]],
  ['disperse.quorum-count', [client('cluster/disperse', 'quorum-count')]],
  ['disperse.read-policy', [client('cluster/disperse', 'read-policy')]],
  ['disperse.stripe-cache', [client('cluster/disperse', 'stripe-cache')]],
  ['features.cache-invalidation', [brick('features/upcall', 'cache-invalidation')]],
  ['features.cache-invalidation-timeout', [brick('features/upcall', 'cache-invalidation-timeout')]],
  ['features.locks-notify-contention', [brick('features/locks', 'notify-contention')]],
  ['features.locks-notify-contention-delay', [brick('features/locks', 'notify-contention-delay')]],
  ['network.frame-timeout', [client('protocol/client', 'frame-timeout')]],
  ['network.ping-timeout', [client('protocol/client', 'ping-timeout')]],
  ['performance.cache-invalidation', [client('performance/md-cache', 'cache-invalidation')]],
  ['performance.flush-behind', [client('performance/write-behind', 'flush-behind')]],
  ['performance.md-cache-timeout', [client('performance/md-cache', 'md-cache-timeout')]],
  ['performance.nl-cache-timeout', [client('performance/nl-cache', 'nl-cache-timeout')]],
  ['performance.write-behind-window-size', [client('performance/write-behind', 'cache-size')]],
  ['storage.health-check-interval', [brick('storage/posix', 'health-check-interval')]],
  ['storage.max-hardlinks', [brick('storage/posix', 'max-hardlinks')]],
  ['storage.reserve', [brick('storage/posix', 'reserve')]],
])

export type VolumeOptions = Readonly<Record<string, string>>

const isOn = (text: string): boolean => /^(on|yes|true|enable|1)$/i.test(text)

/** The client's optional translators, by type. */
export function clientLayers(options: VolumeOptions): ReadonlySet<string> {
  const types = [...LAYERS].filter(([name, [, byDefault]]) => {
    const given = options[name]
    return given === undefined ? byDefault : isOn(given)
  })
  return new Set(types.map(([, [type]]) => type))
}

/** What the volume's options say of translators of `type`. */
export function optionsOf(
  options: VolumeOptions,
  of: Target['of'],
  type: string,
  path = '',
): Record<string, string> {
  const found: Record<string, string> = {}
  for (const [name, value] of Object.entries(options)) {
    for (const target of TARGETS.get(name) ?? []) {
      if (target.of !== of || target.type !== type) continue
      found[target.option.replace('{brick}', path)] = value
    }
  }
  return found
}

/** Throws GlusterError for an unknown option or a value its translator does not take. */
export async function checkOption(name: string, value: string): Promise<void> {
  const fail = (why: string): GlusterError =>
    new GlusterError('OPTION_INVALID', `volume set: failed: ${why}`)
  if (/[\n\0]/.test(value) || value.trim() === '') throw fail('the value is no line of text')
  if (LAYERS.has(name)) {
    if (isOn(value) || /^(off|no|false|disable|0)$/i.test(value)) return
    throw fail(`option ${name} ${value}: '${value}' is not a valid boolean value`)
  }
  const targets = TARGETS.get(name)
  if (targets === undefined) throw fail(`option : ${name} does not exist${didYouMean(name)}`)
  for (const { type, option } of targets) {
    const table = (await registry[type]?.())?.default.options ?? {}
    if (table[option] === undefined) continue
    try {
      resolveOptions(table, new Map([[option, value]]))
    } catch (error) {
      throw fail(error instanceof Error ? error.message : String(error))
    }
  }
}

/** The known option that begins most like it. */
function didYouMean(name: string): string {
  const shared = (other: string): number => {
    let count = 0
    while (count < name.length && other[count] === name[count]) count++
    return count
  }
  const [closest] = [...LAYERS.keys(), ...TARGETS.keys()].sort((a, b) => shared(b) - shared(a))
  return closest === undefined ? '' : `\nDid you mean ${closest}?`
}
