/** The words of `gluster volume create` between the volume's name and its bricks. */
import { hostname } from 'node:os'
import { GlusterError } from '../core/errors.ts'
import type { Shape } from './volume.ts'

const DATA_MAX = 16
const REPLICA_MAX = 16

const fail = (text: string): GlusterError => new GlusterError('VOLUME_STATE', text)

/** `4+2`. Throws GlusterError for shapes no volume can have. */
export function parseDisperse(text: string): NonNullable<Shape['disperse']> {
  const match = /^(\d+)\+(\d+)$/.exec(text)
  return disperse(Number(match?.[1]), Number(match?.[2]), text)
}

function disperse(data: number, redundancy: number, text: string) {
  const fits = data >= 2 && data <= DATA_MAX && redundancy >= 1 && redundancy < data
  if (fits) return { data, redundancy }
  throw fail(`disperse ${text}: wanted K+R with K of 2 to ${DATA_MAX} and R less than K`)
}

/** Throws GlusterError. */
export function parseReplica(count: number, arbiter: number): NonNullable<Shape['replica']> {
  if (arbiter !== 0 && arbiter !== 1) throw fail('arbiter: only 1 of a set can be one')
  if (!(count >= 2 && count <= REPLICA_MAX)) {
    throw fail(`replica count should be greater than 1 and at most ${REPLICA_MAX}`)
  }
  if (arbiter === 1 && count !== 3) throw fail('for an arbiter volume, replica count must be 3')
  return { count, arbiter }
}

/**
 * What a `--type` word says: `distribute`, `4+2`, `disperse 4+2`, `replica 3` or `replicate`, `arbiter` (two
 * replicas and an arbiter), `replica 3 arbiter 1`. Throws GlusterError.
 */
export function parseType(text: string): Shape {
  if (text === 'distribute') return {}
  if (text === 'arbiter') return { replica: parseReplica(3, 1) }
  if (text === 'replicate') return { replica: parseReplica(3, 0) }
  const replica = /^replica(?:te)?[ =]?(\d+)(?: arbiter[ =]?(\d+))?$/.exec(text)
  if (replica !== null) {
    return { replica: parseReplica(Number(replica[1]), Number(replica[2] ?? 0)) }
  }
  return { disperse: parseDisperse(text.replace(/^disperse[ =]?/, '')) }
}

/** Without a redundancy: the widest set of data bricks whose number is a power of two. */
function redundancyOf(width: number): number {
  let data = 2
  while (data * 2 < width) data *= 2
  return width - data
}

/**
 * `[disperse [N]] [disperse-data K] [redundancy R] [replica N [arbiter N]] BRICK... [force]`. Throws
 * GlusterError.
 */
export function parseCreate(words: readonly string[]): { shape: Shape; bricks: string[] } {
  const numbers = new Map<string, number>()
  let at = 0
  for (; at < words.length; at++) {
    const word = words[at]!
    if (!/^(disperse|disperse-data|redundancy|replica|arbiter|transport|stripe)$/.test(word)) break
    const next = words[at + 1] ?? ''
    if (word === 'stripe') throw fail('stripe volumes are gone from GlusterFS')
    if (word === 'transport' && next !== 'tcp') throw fail(`transport ${next}: only tcp is there`)
    const hasNumber = /^\d+$/.test(next) || word === 'transport'
    if (!hasNumber && word !== 'disperse') throw fail(`wrong number after ${word}: '${next}'`)
    numbers.set(word, hasNumber ? Number(next) : 0)
    if (hasNumber) at++
  }
  const bricks = words.slice(at).filter((word) => word !== 'force')
  return { shape: shapeOf(numbers, bricks.length), bricks: bricks.map(localPath) }
}

function shapeOf(numbers: ReadonlyMap<string, number>, bricks: number): Shape {
  const dispersed = ['disperse', 'disperse-data', 'redundancy'].some((word) => numbers.has(word))
  const replica = numbers.get('replica')
  if (dispersed && replica !== undefined) throw fail('replica and disperse exclude each other')
  if (!dispersed) {
    if (replica !== undefined)
      return { replica: parseReplica(replica, numbers.get('arbiter') ?? 0) }
    if (numbers.has('arbiter')) throw fail('arbiter needs replica 3')
    return {}
  }
  const given = numbers.get('disperse-data')
  const asked = numbers.get('redundancy')
  const all = given !== undefined && asked !== undefined ? given + asked : bricks
  const width = (numbers.get('disperse') ?? 0) || all
  const data = given ?? width - (asked ?? redundancyOf(width))
  if (given !== undefined && asked !== undefined && width !== given + asked) {
    throw fail(`disperse ${width} is not disperse-data ${given} and redundancy ${asked}`)
  }
  return { disperse: disperse(data, width - data, `${data}+${width - data}`) }
}

/** `HOST:/path` of this machine, or the path alone. Throws GlusterError. */
function localPath(word: string): string {
  const match = /^([^/:]+):(\/.*)$/.exec(word)
  if (match === null) {
    // A misspelt word of the shape is no directory.
    if (word.includes('/')) return word
    throw fail(`Wrong brick type: ${word}, use [HOST:]/PATH`)
  }
  if (['localhost', '127.0.0.1', hostname()].includes(match[1]!)) return match[2]!
  throw fail(`${word}: embedded volumes have all their bricks on this machine (${hostname()})`)
}
