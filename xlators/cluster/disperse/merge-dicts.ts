/**
 * What bricks say in xattrs and xdata, made one (ec_dict_combine): counters are the largest, lists
 * the union; of everything else all bricks have the same.
 */
import type { Dict, DictValue } from '../../../src/core/dict.ts'
import { decodeLegacy, encodeLegacy, type LegacyDict } from '../../../src/xdr/dict.ts'
import { XdrError } from '../../../src/xdr/reader.ts'

export const LOCKINFO_KEY = 'trusted.glusterfs.lockinfo'

/** quota_meta_t: bytes, files, directories, 8 bytes each; older ones have the bytes only. */
const QUOTA_SIZE_KEY = 'trusted.glusterfs.quota.size'
const COUNTER_SIZE = 8

const MAXIMUM =
  /^(get-link-count|glusterfs\.(inodelk|entrylk|open-fd)-count|trusted\.glusterfs\..*\.[sx]time)$/

/** The dicts of bricks that agree, at least one. `dataCount` scales what counts bytes of data. */
export function mergeDicts(dicts: readonly Dict[], dataCount: number): Dict {
  let merged = dicts.at(-1)!
  const seen = new Set<string>()
  for (const dict of dicts) {
    for (const key of dict.entries.keys()) {
      if (seen.has(key)) continue
      const merge = ruleOf(key)
      if (merge === undefined) continue
      seen.add(key)
      const values = dicts.map((one) => one.get(key)).filter((one) => one !== undefined)
      const value = merge(values, dataCount)
      if (value === undefined || value === merged.get(key)) continue
      if (merged === dicts.at(-1)) merged = merged.clone()
      merged.set(key, value)
    }
  }
  return merged
}

type Rule = (values: readonly DictValue[], dataCount: number) => DictValue | undefined

function ruleOf(key: string): Rule | undefined {
  if (MAXIMUM.test(key)) return largest
  if (key.startsWith(QUOTA_SIZE_KEY)) return quotaSize
  return key === LOCKINFO_KEY ? lockinfo : undefined
}

const bytesOf = (value: DictValue): Buffer | undefined =>
  value.type === 'ptr' || value.type === 'strOld' ? value.value : undefined

function largest(values: readonly DictValue[]): DictValue | undefined {
  return values.reduce((best, value) => (larger(value, best) ? value : best))
}

function larger(a: DictValue, b: DictValue): boolean {
  const [left, right] = [bytesOf(a), bytesOf(b)]
  if (left !== undefined && right !== undefined) return Buffer.compare(left, right) > 0
  return Number(a.value) > Number(b.value)
}

/** Bricks count fragments: the largest count stands for all, times K for the bytes. */
function quotaSize(values: readonly DictValue[], dataCount: number): DictValue | undefined {
  const all = values.map(bytesOf).filter((one) => one !== undefined)
  const size = Math.min(...all.map((one) => one.length))
  if (all.length === 0 || size === 0 || size % COUNTER_SIZE !== 0) return undefined
  const merged = Buffer.alloc(size)
  for (let at = 0; at < size; at += COUNTER_SIZE) {
    let most = all[0]!.readBigInt64BE(at)
    for (const one of all) if (one.readBigInt64BE(at) > most) most = one.readBigInt64BE(at)
    const scale = at === 0 ? BigInt(dataCount) : 1n
    merged.writeBigInt64BE(BigInt.asIntN(64, most * scale), at)
  }
  return { type: 'ptr', value: merged }
}

/** Every brick names the locks of an fd for itself; who takes them over needs all names. */
function lockinfo(values: readonly DictValue[]): DictValue | undefined {
  const union: LegacyDict = new Map()
  for (const value of values) {
    const bytes = bytesOf(value)
    if (bytes === undefined) continue
    try {
      for (const [key, name] of decodeLegacy(bytes, 0, LOCKINFO_KEY)) union.set(key, name)
    } catch (error) {
      if (!(error instanceof XdrError)) throw error
    }
  }
  return union.size === 0 ? undefined : { type: 'ptr', value: encodeLegacy(union) }
}
