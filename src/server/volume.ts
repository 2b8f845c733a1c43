/** Volumes of an embedded server: what they are made of, and where that is kept. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { errnoName } from '../core/errno.ts'
import { GlusterError } from '../core/errors.ts'
import { gfidText, gfidToBytes, newGfid, parseGfid } from '../core/gfid.ts'
import { errnoOf } from '../sys/libc.ts'
import { getXattr, removeXattr, setXattr, XATTR_CREATE } from '../sys/xattr.ts'

export interface Volume {
  readonly name: string
  /** UUID that every brick's root carries. */
  readonly id: string
  /** Dispersed sets have `data + redundancy` bricks; without, files are spread whole. */
  readonly disperse: { readonly data: number; readonly redundancy: number } | undefined
  /** Absolute paths. */
  readonly bricks: readonly string[]
  /** It was started, and is again when the server comes back. */
  readonly started: boolean
}

export const BRICKS_MAX = 1024
const VOLUME_ID_KEY = 'trusted.glusterfs.volume-id'
const GFID_KEY = 'trusted.gfid'
const DATA_MAX = 16

const fail = (text: string): GlusterError => new GlusterError('VOLUME_STATE', text)

/** `4+2`. Throws GlusterError for shapes no volume can have. */
export function parseShape(text: string): NonNullable<Volume['disperse']> {
  const match = /^(\d+)\+(\d+)$/.exec(text)
  const data = Number(match?.[1])
  const redundancy = Number(match?.[2])
  if (match === null || data < 2 || data > DATA_MAX || redundancy < 1 || redundancy >= data) {
    throw fail(`disperse ${text}: wanted K+R with K of 2 to ${DATA_MAX} and R less than K`)
  }
  return { data, redundancy }
}

/** The directory that knows the volumes: one JSON file each. */
export class VolumeStore {
  readonly directory: string

  constructor(directory: string) {
    this.directory = resolve(directory)
    mkdirSync(join(this.directory, 'volumes'), { recursive: true })
    mkdirSync(join(this.directory, 'logs'), { recursive: true })
  }

  /** A file of the directory, such as the control socket. */
  path(...names: string[]): string {
    return join(this.directory, ...names)
  }

  names(): string[] {
    const files = readdirSync(this.path('volumes'))
    return files.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -5))
  }

  has(name: string): boolean {
    return existsSync(this.#file(name))
  }

  /** Throws GlusterError when there is no such volume. */
  load(name: string): Volume {
    if (!/^[\w-]+$/.test(name) || !this.has(name)) throw fail(`volume '${name}' does not exist`)
    return JSON.parse(readFileSync(this.#file(name), 'utf8')) as Volume
  }

  /** All or nothing: a crash leaves the old state. */
  save(volume: Volume): void {
    const file = this.#file(volume.name)
    writeFileSync(`${file}.new`, `${JSON.stringify(volume, null, 2)}\n`)
    renameSync(`${file}.new`, file)
  }

  /** A new volume on `bricks`, which are made where missing. Throws GlusterError. */
  create(name: string, disperse: Volume['disperse'], bricks: readonly string[]): Volume {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(name)) throw fail(`'${name}' is no name for a volume`)
    if (this.has(name)) throw fail(`volume '${name}' exists already`)
    const width = disperse === undefined ? 1 : disperse.data + disperse.redundancy
    if (bricks.length === 0 || bricks.length % width !== 0 || bricks.length > BRICKS_MAX) {
      throw fail(`${bricks.length} bricks: wanted a multiple of ${width}, at most ${BRICKS_MAX}`)
    }
    const paths = bricks.map((path) => resolve(path))
    if (new Set(paths).size < paths.length) throw fail('a brick is named twice')
    for (const path of paths) checkFree(path)
    const volume = { name, id: gfidText(newGfid()), disperse, bricks: paths, started: false }
    for (const path of paths) claim(path, volume.id)
    this.save(volume)
    return volume
  }

  /** Forgets the volume; with `data`, its bricks go with all that is in them. */
  destroy(volume: Volume, data: boolean): void {
    for (const path of volume.bricks) {
      if (data) rmSync(path, { recursive: true, force: true })
      else {
        removeXattr(path, VOLUME_ID_KEY)
        removeXattr(path, GFID_KEY)
      }
    }
    rmSync(this.#file(volume.name), { force: true })
  }

  #file(name: string): string {
    return this.path('volumes', `${name}.json`)
  }
}

/** Throws GlusterError for a directory that is a brick already, or holds something else. */
function checkFree(path: string): void {
  if (!existsSync(path)) return
  const id = getXattr(path, VOLUME_ID_KEY)
  if (typeof id !== 'number') throw fail(`${path} is in use: it is a brick of another volume`)
  if (readdirSync(path).length > 0) throw fail(`${path} is in use: it is not empty`)
}

function claim(path: string, id: string): void {
  mkdirSync(path, { recursive: true })
  const gfid = parseGfid(id)
  if (gfid === undefined) throw fail(`${id} is no volume id`)
  const rc = setXattr(path, VOLUME_ID_KEY, gfidToBytes(gfid), XATTR_CREATE)
  if (rc >= 0) return
  const why = errnoName(errnoOf(rc))
  const hint = why === 'EPERM' ? 'bricks need root' : 'its file system takes no trusted.* xattrs'
  throw fail(`${path} cannot be a brick: ${why} (${hint})`)
}
