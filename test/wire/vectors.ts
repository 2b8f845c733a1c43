/**
 * The golden records of test/vectors/rpc (captured from stock GlusterFS 10.3) and what is needed
 * to compare our decoding with theirs: both sides are brought into one form, in which byte strings
 * are latin1, gfids canonical text and 64-bit integers beyond 2^53 decimal text.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { Dict, type DictValue } from '../../src/core/dict.ts'
import { type Gfid, gfidText } from '../../src/core/gfid.ts'
import { Iatt } from '../../src/core/iatt.ts'

export interface GoldenRecord {
  name: string
  direction: 'call' | 'reply' | 'callback'
  hex: string
  decoded: GoldenMessage
}

export interface GoldenMessage {
  xid: number
  prog: number
  vers: number
  proc: number
  cred_flavor?: number
  cred?: Record<string, unknown> | string
  reply_stat?: string
  accept_stat?: string
  reject?: number
  detail?: number[]
  body?: unknown
  payload?: string
}

/** Every record, in file order: a reply follows its call. */
export function goldenRecords(): GoldenRecord[] {
  const directory = 'test/vectors/rpc/'
  return readdirSync(directory)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .flatMap((file) => {
      // JSON.parse would round what does not fit a double.
      const text = readFileSync(directory + file, 'utf8').replace(
        /([:[,]\s*)(-?\d{16,})/g,
        '$1"$2"',
      )
      return JSON.parse(text) as GoldenRecord[]
    })
}

/** Fields the vectors call otherwise than the protocol. */
const renamed: Record<string, string> = {
  progs: 'prog',
  num: 'prognum',
  ver: 'progver',
  entries: 'reply',
  locks: 'reply',
}
const entryFields: Record<string, string> = {
  ino: 'd_ino',
  off: 'd_off',
  len: 'd_len',
  type: 'd_type',
}

/** Fields whose bytes the vectors give in hex. */
const hexFields = new Set(['lk_owner', 'strong_checksum'])

/** The vectors' form of a value, brought into the common one. */
export function expectedForm(value: unknown, field = ''): unknown {
  if (typeof value === 'string' && hexFields.has(field)) {
    return Buffer.from(value, 'hex').toString('latin1')
  }
  if (Array.isArray(value)) {
    return value.map((item) => expectedForm(item, field === 'entries' ? 'entry' : ''))
  }
  if (typeof value !== 'object' || value === null) return value
  const object = value as Record<string, unknown>
  if (typeof object.z === 'string') return `${object.z}\0`
  if (typeof object.hex === 'string') return Buffer.from(object.hex, 'hex').toString('latin1')
  const form: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(object)) {
    const name = (field === 'entry' ? entryFields[key] : renamed[key]) ?? key
    if (key === 'name' && 'num' in object) form.progname = item
    else form[name] = expectedForm(item, key)
  }
  return form
}

const integer = (value: number | bigint): number | string =>
  value > 999_999_999_999_999 || value < -999_999_999_999_999 ? String(value) : Number(value)

const wide = (hi: number, lo: number): number | string => integer((BigInt(hi) << 32n) | BigInt(lo))

/** A value of ours in the common form. `legacy`: attributes are gf_iatt. */
export function ourForm(value: unknown, field = '', legacy = false): unknown {
  if (value === undefined) return null
  if (value instanceof Iatt) return iattForm(value, legacy)
  if (value instanceof Dict) {
    return [...value.entries].map(([key, entry]) => [key, ...valueForm(entry)])
  }
  if (value instanceof Map) {
    return [...value].map(([key, bytes]) => [key, (bytes as Buffer).toString('latin1')])
  }
  if (Buffer.isBuffer(value)) {
    return field === 'lease_id'
      ? gfidText(value.toString('latin1') as Gfid)
      : value.toString('latin1')
  }
  if (Array.isArray(value)) return value.map((item) => ourForm(item, '', legacy))
  if (typeof value === 'bigint' || typeof value === 'number') return integer(value)
  if (typeof value === 'string') {
    const isGfid = /^(gfid[12]?|pargfid|oldgfid|newgfid)$/.test(field) && value.length === 16
    return isGfid ? gfidText(value as Gfid) : value
  }
  return objectForm(value as Record<string, unknown>, legacy)
}

function objectForm(object: Record<string, unknown>, legacy: boolean): unknown {
  if ('inoHi' in object) return entryForm(object)
  const form: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(object)) {
    const name = snake(key)
    form[name] = ourForm(item, name, legacy)
  }
  return form
}

const snake = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)

function entryForm(entry: Record<string, unknown>): unknown {
  const { name, stat, xdata } = entry as { name: string; stat?: Iatt; xdata?: Dict }
  const form = {
    d_ino: wide(entry.inoHi as number, entry.inoLo as number),
    d_off: integer(entry.off as bigint),
    d_len: name.length,
    d_type: entry.type,
    name,
  }
  return stat === undefined ? form : { ...form, stat: ourForm(stat), dict: ourForm(xdata) }
}

function iattForm(stat: Iatt, legacy: boolean): unknown {
  const form: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(stat)) form[snake(key)] = item
  form.gfid = gfidText(stat.gfid)
  form.ino = wide(stat.inoHi, stat.inoLo)
  form.dev = wide(stat.devHi, stat.devLo)
  for (const key of ['ino_hi', 'ino_lo', 'dev_hi', 'dev_lo']) delete form[key]
  if (legacy) {
    for (const key of ['flags', 'attributes', 'attributes_mask', 'btime', 'btime_nsec']) {
      delete form[key]
    }
  }
  return form
}

function valueForm(entry: DictValue): [string, unknown] {
  switch (entry.type) {
    case 'gfid':
      return ['gfuuid', gfidText(entry.value)]
    case 'str':
      return ['str', `${entry.value}\0`]
    default:
      return [entry.type, ourForm(entry.value)]
  }
}
