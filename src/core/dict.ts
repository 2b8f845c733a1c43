import type { Gfid } from './gfid.ts'
import type { Iatt } from './iatt.ts'

/** Times as `trusted.glusterfs.mdata` carries them (wire dict type 9). Seconds and nanoseconds. */
export interface Mdata {
  atime: number
  mtime: number
  ctime: number
  atimeNsec: number
  mtimeNsec: number
  ctimeNsec: number
}

/**
 * One value with the type it has on the wire (gfx_value). `int`, `uint` and `double` are numbers;
 * 64-bit integers beyond 2^53 are bigint. `str` is bytes-as-latin1 without the NUL.
 */
export type DictValue =
  | { type: 'int'; value: number | bigint }
  | { type: 'uint'; value: number | bigint }
  | { type: 'double'; value: number }
  | { type: 'str'; value: string }
  | { type: 'ptr'; value: Buffer }
  | { type: 'strOld'; value: Buffer }
  | { type: 'gfid'; value: Gfid }
  | { type: 'iatt'; value: Iatt }
  | { type: 'mdata'; value: Mdata }

/**
 * Extra data of a fop (xdata) and xattr lists: keys are byte strings (latin1), values typed.
 * Insertion order is kept. Absent xdata is `undefined`, never an empty Dict.
 */
export class Dict {
  readonly entries = new Map<string, DictValue>()

  static of(init: Record<string, DictValue>): Dict {
    const dict = new Dict()
    for (const key of Object.keys(init)) dict.entries.set(key, init[key]!)
    return dict
  }

  get count(): number {
    return this.entries.size
  }

  has(key: string): boolean {
    return this.entries.has(key)
  }

  get(key: string): DictValue | undefined {
    return this.entries.get(key)
  }

  delete(key: string): boolean {
    return this.entries.delete(key)
  }

  set(key: string, value: DictValue): this {
    this.entries.set(key, value)
    return this
  }

  setInt(key: string, value: number): this {
    return this.set(key, { type: 'int', value })
  }

  setUint(key: string, value: number): this {
    return this.set(key, { type: 'uint', value })
  }

  /** A C string; `value` is latin1 bytes, the NUL is added on the wire. */
  setStr(key: string, value: string): this {
    return this.set(key, { type: 'str', value })
  }

  /** Raw bytes of exactly this length (wire type 6): the form of every xattr value. */
  setBytes(key: string, value: Buffer): this {
    return this.set(key, { type: 'ptr', value })
  }

  setGfid(key: string, value: Gfid): this {
    return this.set(key, { type: 'gfid', value })
  }

  setIatt(key: string, value: Iatt): this {
    return this.set(key, { type: 'iatt', value })
  }

  /** The value's bytes as a peer would store them, `undefined` when absent. */
  getBytes(key: string): Buffer | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined) return undefined
    switch (entry.type) {
      case 'ptr':
      case 'strOld':
        return entry.value
      case 'str':
      case 'gfid':
        return Buffer.from(entry.value, 'latin1')
      case 'int':
      case 'uint':
      case 'double':
        return Buffer.from(String(entry.value), 'latin1')
      default:
        return undefined
    }
  }

  /**
   * A number: integer types as they are, text and bytes as decimal ASCII up to a NUL (peers hold
   * numbers as text). `undefined` when absent or not a number.
   */
  getNumber(key: string): number | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined) return undefined
    switch (entry.type) {
      case 'int':
      case 'uint':
      case 'double':
        return Number(entry.value)
      case 'str':
        return parseDecimal(entry.value)
      case 'ptr':
      case 'strOld':
        return parseDecimal(entry.value.latin1Slice())
      default:
        return undefined
    }
  }

  /** Text without its terminating NUL, latin1. */
  getStr(key: string): string | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined) return undefined
    if (entry.type === 'str') return entry.value
    if (entry.type === 'ptr' || entry.type === 'strOld') {
      const end = entry.value.indexOf(0)
      return entry.value.latin1Slice(0, end < 0 ? entry.value.length : end)
    }
    return this.getBytes(key)?.latin1Slice()
  }

  getIatt(key: string): Iatt | undefined {
    const entry = this.entries.get(key)
    return entry?.type === 'iatt' ? entry.value : undefined
  }

  getGfid(key: string): Gfid | undefined {
    const entry = this.entries.get(key)
    if (entry?.type === 'gfid') return entry.value
    if ((entry?.type === 'ptr' || entry?.type === 'strOld') && entry.value.length === 16) {
      return entry.value.latin1Slice() as Gfid
    }
    return undefined
  }

  clone(): Dict {
    const copy = new Dict()
    for (const [key, value] of this.entries) copy.entries.set(key, value)
    return copy
  }
}

function parseDecimal(text: string): number | undefined {
  const end = text.indexOf('\0')
  const digits = end < 0 ? text : text.slice(0, end)
  return /^-?\d+$/.test(digits) ? Number(digits) : undefined
}
