/**
 * What geo-replication writes to `glusterfs.gfid.newfile` and `glusterfs.gfid.heal`: entries with
 * given gfids. Numbers are big-endian, texts end with NUL.
 *
 *     newfile:  uid u32 | gid u32 | gfid text 37 | mode u32 | name\0 | rest
 *               rest: regular and special files  mode u32 | rdev u32 | umask u32
 *                     directories                mode u32 | umask u32
 *                     symbolic links             target\0
 *     heal:     gfid text 37 | name\0
 */
import { type Gfid, parseGfid } from '../../../src/core/gfid.ts'
import { S_IFDIR, S_IFLNK, S_IFMT } from '../../../src/core/iatt.ts'

const GFID_TEXT_BYTES = 37
const NAME_BYTES_MAX = 255

interface Named {
  gfid: Gfid
  name: string
}

export type NewEntry = Named & { uid: number; gid: number } & (
    | { kind: 'node'; mode: number; rdev: number; umask: number }
    | { kind: 'directory'; mode: number; umask: number }
    | { kind: 'link'; target: string }
  )

/** Reads fields one after the other; `undefined` from the first that is not there. */
class Fields {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  number(): number | undefined {
    if (this.#at + 4 > this.#bytes.length) return undefined
    this.#at += 4
    return this.#bytes.readUInt32BE(this.#at - 4)
  }

  text(): string | undefined {
    const end = this.#bytes.indexOf(0, this.#at)
    if (end < 0) return undefined
    const text = this.#bytes.latin1Slice(this.#at, end)
    this.#at = end + 1
    return text
  }

  gfid(): Gfid | undefined {
    const from = this.#at
    if (from + GFID_TEXT_BYTES > this.#bytes.length) return undefined
    this.#at += GFID_TEXT_BYTES
    return parseGfid(this.#bytes.latin1Slice(from, this.#at - 1))
  }

  name(): string | undefined {
    const name = this.text()
    const bad = name === undefined || name === '' || name === '.' || name === '..'
    return bad || name.includes('/') || name.length > NAME_BYTES_MAX ? undefined : name
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length
  }
}

/** `undefined` for bytes that are no such request. */
export function readNewEntry(bytes: Buffer): NewEntry | undefined {
  const fields = new Fields(bytes)
  const [uid, gid, gfid] = [fields.number(), fields.number(), fields.gfid()]
  const [type, name] = [fields.number(), fields.name()]
  if (uid === undefined || gid === undefined || gfid === undefined) return undefined
  if (type === undefined || name === undefined) return undefined
  const named = { uid, gid, gfid, name }
  if ((type & S_IFMT) === S_IFLNK) {
    const target = fields.text()
    return target === undefined ? undefined : { ...named, kind: 'link', target }
  }
  const permissions = fields.number()
  if (permissions === undefined) return undefined
  const mode = (type & S_IFMT) | (permissions & 0o7777)
  const isDirectory = (type & S_IFMT) === S_IFDIR
  const rdev = isDirectory ? 0 : fields.number()
  const umask = fields.number()
  if (rdev === undefined || umask === undefined || !fields.atEnd) return undefined
  return isDirectory
    ? { ...named, kind: 'directory', mode, umask }
    : { ...named, kind: 'node', mode, rdev, umask }
}

/** `undefined` for bytes that are no such request. */
export function readHeal(bytes: Buffer): Named | undefined {
  const fields = new Fields(bytes)
  const [gfid, name] = [fields.gfid(), fields.name()]
  return gfid === undefined || name === undefined ? undefined : { gfid, name }
}
