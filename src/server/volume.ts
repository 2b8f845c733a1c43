/** Volumes of an embedded server: what they are made of, and where that is kept. */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
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
import { getXattr, removeXattr, setXattr } from '../sys/xattr.ts'

export interface Volume {
  readonly name: string
  /** UUID that every brick's root carries. */
  readonly id: string
  /** Dispersed sets have `data + redundancy` bricks; without, files are spread whole. */
  readonly disperse?: { readonly data: number; readonly redundancy: number } | undefined
  /** Replicated sets have `count` bricks, the last of which keeps no data with `arbiter` 1. */
  readonly replica?: { readonly count: number; readonly arbiter: 0 | 1 } | undefined
  /** Absolute paths. */
  readonly bricks: readonly string[]
  /** It was started, and is again when the server comes back. */
  readonly started: boolean
  /** Options of `gluster-ts set`, by the names `gluster volume set` has for them. */
  readonly options?: Readonly<Record<string, string>>
  /** Its bricks are being claimed; a crash in between leaves it so, and create begins again. */
  readonly creating?: boolean
}

export const BRICKS_MAX = 1024
const VOLUME_ID_KEY = 'trusted.glusterfs.volume-id'
const GFID_KEY = 'trusted.gfid'

/** How a volume's bricks belong together; both absent: files are spread whole over the bricks. */
export type Shape = Pick<Volume, 'disperse' | 'replica'>

const fail = (text: string): GlusterError => new GlusterError('VOLUME_STATE', text)

/** Bricks of a set. */
export function setWidth({ disperse, replica }: Shape): number {
  return disperse !== undefined ? disperse.data + disperse.redundancy : (replica?.count ?? 1)
}

/** Does the brick keep names and attributes only? */
export function isArbiter({ bricks, replica }: Volume, path: string): boolean {
  if (replica?.arbiter !== 1) return false
  return bricks.indexOf(path) % replica.count === replica.count - 1
}

/** `Type` and `Number of Bricks` of `gluster volume info`. */
export function shapeText(volume: Volume): { type: string; bricks: string } {
  const { bricks, disperse, replica } = volume
  const sets = bricks.length / setWidth(volume)
  const distributed = sets > 1 ? 'Distributed-' : ''
  if (disperse !== undefined) {
    const { data, redundancy } = disperse
    const shown = `${sets} x (${data} + ${redundancy}) = ${bricks.length}`
    return { type: `${distributed}Disperse`, bricks: shown }
  }
  if (replica === undefined) return { type: 'Distribute', bricks: String(bricks.length) }
  const { count, arbiter } = replica
  const set = arbiter === 1 ? `(${count - 1} + 1)` : String(count)
  return { type: `${distributed}Replicate`, bricks: `${sets} x ${set} = ${bricks.length}` }
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
    return this.#read(name)?.creating === false
  }

  /** Throws GlusterError when there is no such volume. */
  load(name: string): Volume {
    const volume = this.#read(name)
    if (volume === undefined || volume.creating) throw fail(`volume '${name}' does not exist`)
    return volume
  }

  #read(name: string): (Volume & { creating: boolean }) | undefined {
    const file = this.#file(name)
    if (!/^[\w-]+$/.test(name) || !existsSync(file)) return undefined
    try {
      return { creating: false, ...(JSON.parse(readFileSync(file, 'utf8')) as Volume) }
    } catch (cause) {
      throw new GlusterError('VOLUME_STATE', `${file} is damaged`, { cause })
    }
  }

  /** All or nothing, and on the disk when it returns: a crash leaves the old state. */
  save(volume: Volume): void {
    const file = this.#file(volume.name)
    const fd = openSync(`${file}.new`, 'w')
    writeFileSync(fd, `${JSON.stringify(volume, null, 2)}\n`)
    fsyncSync(fd)
    closeSync(fd)
    renameSync(`${file}.new`, file)
    const directory = openSync(this.path('volumes'), 'r')
    fsyncSync(directory)
    closeSync(directory)
  }

  /** A new volume on `bricks`, which are made where missing. Throws GlusterError. */
  create(name: string, shape: Shape, bricks: readonly string[]): Volume {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(name)) throw fail(`'${name}' is no name for a volume`)
    if (this.has(name)) throw fail(`volume '${name}' exists already`)
    const width = setWidth(shape)
    if (bricks.length === 0 || bricks.length % width !== 0 || bricks.length > BRICKS_MAX) {
      throw fail(`${bricks.length} bricks: wanted a multiple of ${width}, at most ${BRICKS_MAX}`)
    }
    const paths = bricks.map((path) => resolve(path))
    if (new Set(paths).size < paths.length) throw fail('a brick is named twice')
    // A creation that was cut short has claimed some directories already.
    const begun = this.#read(name)
    const id = begun?.id ?? gfidText(newGfid())
    for (const path of paths) checkFree(path, id)
    for (const path of begun?.bricks ?? []) {
      if (!paths.includes(path)) removeXattr(path, VOLUME_ID_KEY)
    }
    const volume = { name, id, ...shape, bricks: paths, started: false }
    this.save({ ...volume, creating: true })
    for (const path of paths) claim(path, id)
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
function checkFree(path: string, id: string): void {
  if (!existsSync(path)) return
  const found = getXattr(path, VOLUME_ID_KEY)
  if (typeof found !== 'number') {
    if (found.latin1Slice() === parseGfid(id)) return
    throw fail(`${path} is in use: it is a brick of another volume`)
  }
  if (readdirSync(path).length > 0) throw fail(`${path} is in use: it is not empty`)
}

function claim(path: string, id: string): void {
  mkdirSync(path, { recursive: true })
  const gfid = parseGfid(id)
  if (gfid === undefined) throw fail(`${id} is no volume id`)
  const rc = setXattr(path, VOLUME_ID_KEY, gfidToBytes(gfid), 0)
  if (rc >= 0) return
  const why = errnoName(errnoOf(rc))
  const hint = why === 'EPERM' ? 'bricks need root' : 'its file system takes no trusted.* xattrs'
  throw fail(`${path} cannot be a brick: ${why} (${hint})`)
}
