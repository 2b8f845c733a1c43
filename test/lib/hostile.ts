/** Requests nobody should send: every fop with every kind of bad argument, and broken bytes. */
import { Dict } from '../../src/core/dict.ts'
import { type Creds, ROOT_CREDS } from '../../src/core/frame.ts'
import { type Gfid, NULL_GFID, newGfid, ROOT_GFID } from '../../src/core/gfid.ts'
import { Iatt } from '../../src/core/iatt.ts'
import { legacyDict } from '../../src/xdr/dict.ts'
import { DUMP, FOP, HANDSHAKE, PORTMAP, type Procedure } from '../../src/xdr/programs.ts'
import { AUTH_GLUSTERFS_V3 } from '../../src/xdr/rpc-auth.ts'
import { encodeCall } from '../../src/xdr/rpc-msg.ts'
import { Writer } from '../../src/xdr/writer.ts'
import { seeded } from './seeded.ts'

/** Mark, header, credential and verifier of a call with these credentials, bytes. */
const HEADER_BYTES = 88
const PAYLOAD_BYTES_MAX = 5000

const numbers = [0, 1, 2, 7, 255, 4096, 65_536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]
/** Far beyond any file system, or small: nothing that fills a disk. */
const lengths = [0, 1, 511, 4096, 2 ** 50, 2 ** 53 - 1]
const fds = [-2, -2, -1, 0, 1, 2, 77, 65_536, 2 ** 31, -(2 ** 31)]

export interface Names {
  /** A file outside of the brick. */
  readonly outside: string
  /** `remote-subvolume` of the brick. */
  readonly brick: string
}

export class Hostile {
  readonly #random: () => number
  readonly #names: Names
  readonly #gfids: Gfid[] = [ROOT_GFID, NULL_GFID]
  #xid = 1

  constructor(seed: number, names: Names) {
    this.#random = seeded(seed)
    this.#names = names
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  #of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }

  #gfid(): Gfid {
    if (this.below(4) > 0) return this.#of(this.#gfids)
    const gfid = newGfid()
    if (this.#gfids.length < 200) this.#gfids.push(gfid)
    return gfid
  }

  #name(): string {
    const { outside } = this.#names
    const deep = '../'.repeat(1 + this.below(8))
    return this.#of([
      ...['a', 'b', 'c', 'd', 'a', 'b', 'c', 'd', '', '.', '..', '/', './a', 'a/b', 'a/../..'],
      ...['.glusterfs', '.glusterfs/00', 'a\0b', '\0', '\xff\xfe', '-rf', 'x'.repeat(255)],
      ...['x'.repeat(256), 'x'.repeat(4096), `${deep}etc/passwd`, outside, `${deep}${outside}`],
    ])
  }

  #xattrName(): string {
    return this.#of([
      ...['', 'user.a', 'trusted.gfid', 'trusted.glusterfs.volume-id', 'trusted.glusterfs.dht'],
      ...['trusted.gfid2path.0000000000000000', 'glusterfs.gfidtopath', 'glusterfs.ancestry.path'],
      ...['trusted.glusterfs.pathinfo', 'system.posix_acl_access', 'security.capability', 'a\0b'],
      ...['glusterfs.get_real_filename:../..', 'glusterfs.clrlk.tinode.kall', 'x'.repeat(300)],
      ...['glusterfs.xattrop_index_gfid', 'glusterfs.list-xattr', 'trusted.glusterfs.mdata'],
    ])
  }

  #dict(): Dict | undefined {
    if (this.below(4) === 0) return undefined
    const dict = new Dict()
    if (this.below(3) > 0) dict.setGfid('gfid-req', this.#gfid())
    for (let i = this.below(4); i > 0; i--) {
      const key = this.below(2) === 0 ? this.#xattrName() : this.#of(XDATA)
      const kind = this.below(4)
      if (kind === 0) dict.setInt(key, this.#of(numbers))
      else if (kind === 1) dict.setStr(key, this.#name())
      else dict.setBytes(key, Buffer.alloc(this.#of([0, 3, 8, 16, 57, 64]), this.below(256)))
    }
    return dict
  }

  #flock() {
    const start = this.#of([0n, 1n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n])
    const len = this.#of([0n, 1n, 2n ** 63n - 1n, 2n ** 64n - 1n])
    const lkOwner = Buffer.alloc(this.below(9))
    return { type: this.below(5), whence: this.below(4), start, len, pid: this.below(9), lkOwner }
  }

  /** Values for the fields of any fop; each takes those it has. */
  #body(fop: string): object {
    const stbuf = new Iatt()
    stbuf.mode = this.#of(numbers)
    stbuf.uid = this.#of(numbers)
    stbuf.atime = this.#of(numbers)
    const isDir = fop.startsWith('READDIR')
    const large = this.#of(lengths)
    return {
      ...{ gfid: this.#gfid(), pargfid: this.#gfid(), oldgfid: this.#gfid() },
      ...{ newgfid: this.#gfid(), gfid1: this.#gfid(), gfid2: this.#gfid() },
      ...{ bname: this.#name(), oldbname: this.#name(), newbname: this.#name() },
      ...{ linkname: this.#name(), name: this.#xattrName(), volume: this.#name() },
      ...{ fd: this.#of(fds), fd_in: this.#of(fds), fd_out: this.#of(fds) },
      ...{ off_in: this.#of(lengths), off_out: this.#of(lengths), dev: this.below(1000) },
      offset: isDir ? BigInt(this.#of(lengths)) : large,
      size: /FALLOCATE|DISCARD|ZEROFILL/.test(fop) ? this.#of(lengths) : this.#of(numbers),
      ...{ flags: this.#of(numbers), flag: this.#of(numbers), xflags: this.below(2) },
      ...{ mode: this.#of(numbers), umask: this.#of(numbers), mask: this.#of(numbers) },
      ...{ data: this.below(3), namelen: this.#of(numbers), len: this.#of(numbers) },
      // Not blocking: what waits for a lock is not answered.
      ...{ cmd: this.#of([0, 1, 1, 3, 6, 99]), type: this.below(5), flock: this.#flock() },
      ...{ stbuf, valid: this.#of([0, 1, 2, 8, 0x1ff, -1]), what: this.below(4) },
      ...{ op: this.below(4), dict: this.#dict(), xdata: this.#dict(), xattr: this.#dict() },
      lease: { cmd: this.below(5), leaseType: 1, leaseId: Buffer.alloc(16), leaseFlags: 0 },
      request: [],
    }
  }

  #creds(): Creds {
    const uid = this.#of([0, 0, 0, 65_534, 2 ** 32 - 1])
    return { ...ROOT_CREDS, uid, gid: uid, pid: this.#of([1, 0, -6]), lkOwner: Buffer.alloc(8, 1) }
  }

  encode<Q>(
    procedure: Procedure<Q>,
    body: Q,
    payload = Buffer.alloc(0),
    xid = this.#xid++,
    creds = this.#creds(),
  ): Buffer {
    const w = new Writer()
    encodeCall(w, xid, procedure, AUTH_GLUSTERFS_V3, creds, body, payload.length)
    return Buffer.concat([w.take(), payload])
  }

  /** A call that nothing is wrong with. */
  sane<Q>(procedure: Procedure<Q>, body: Q): Buffer {
    return this.encode(procedure, body, undefined, undefined, ROOT_CREDS)
  }

  /** A call of a fop that can be decoded. */
  fop(): Buffer {
    const [name, procedure] = this.#of(Object.entries(FOP))
    const body = this.#body(name) as { size?: number }
    if (procedure !== FOP.WRITE) return this.encode(procedure as Procedure, body)
    const payload = Buffer.alloc(this.below(PAYLOAD_BYTES_MAX), 7)
    // Mostly the truth.
    if (this.below(4) > 0) body.size = payload.length
    return this.encode(procedure as unknown as Procedure, body, payload)
  }

  handshake(): Buffer {
    const given = (value: string): Record<string, string> => ({
      'remote-subvolume': this.#of([this.#names.brick, this.#name(), value]),
      'process-uuid': this.#of(['u', '', 'x'.repeat(3000), value]),
      'fops-version': this.#of(['1298437', '330', value]),
      'subdir-mount': this.#of(['', '/..', '/a', value]),
      username: this.#name(),
      password: this.#name(),
    })
    const entries = Object.entries(given(this.#name())).filter(() => this.below(4) > 0)
    const dict = legacyDict(Object.fromEntries(entries))
    return this.#of([
      () => this.encode(HANDSHAKE.SETVOLUME, { dict }),
      () => this.encode(HANDSHAKE.GETSPEC, { flags: 1, key: this.#name(), xdata: dict }),
      () => this.encode(PORTMAP.PORTBYBRICK, { brick: this.#name() }),
      () => this.encode(DUMP.DUMP, { gfs_id: this.below(2 ** 31) }),
      () => this.encode(DUMP.PING, {}),
      () => this.encode(HANDSHAKE.SET_LK_VER, { uid: this.#name(), lk_ver: 1 }),
    ])()
  }

  /** The same with some bytes changed, mostly of its arguments. */
  damaged(record: Buffer): Buffer {
    const bytes = Buffer.from(record)
    for (let i = this.below(4); i >= 0; i--) {
      const from = this.below(400) === 0 || bytes.length <= HEADER_BYTES ? 4 : HEADER_BYTES
      bytes[from + this.below(bytes.length - from)] = this.below(256)
    }
    return bytes
  }

  /** What ends a connection: a record too long, too many fragments, a reply, noise. */
  noise(): Buffer {
    const mark = Buffer.alloc(4)
    mark.writeUInt32BE(this.#of([0xffffffff, 0x82000000, 0x7fffffff, 0x80000000, 0x80000003]))
    const noise = Buffer.from(Array.from({ length: this.below(300) }, () => this.below(256)))
    return this.#of([
      () => Buffer.concat([mark, noise]),
      () => noise,
      () => Buffer.alloc(4 * (1 + this.below(5000))),
      () => Buffer.from('GET / HTTP/1.1\r\nHost: brick\r\n\r\n'),
    ])()
  }
}

const XDATA = [
  ...['glusterfs.content', 'list-xattr', 'link-count', 'get-size', 'glusterfs.open-fd-count'],
  ...['glusterfs.inodelk-count', 'glusterfs.parent-entrylk', 'glusterfs.preop.parent.key'],
  ...['glusterfs-internal-fop', 'force-replace', 'unlink-only-if-dht-linkto-file', 'batch-fsync'],
  ...['glusterfs.xattrop-entry-create', 'glusterfs.xattrop-purge-index', 'set-ctime-mdata'],
  ...['dont-unlink-for-open-fd', 'glusterfs.write-is-append', 'gfidless-lookup', 'umask', 'mode'],
]
