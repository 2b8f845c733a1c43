/** Requests about extended attributes, and the virtual ones the bridge answers itself. */
import { Dict, type DictValue } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { MaybePromise, Rep } from '../../../src/core/fop.ts'
import { gfidText, gfidToBytes } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import type { FuseOps } from '../../../src/fuse/opcodes.ts'
import type { FuseRequest } from '../../../src/fuse/request.ts'
import { CLIENT_PID_GSYNCD, gsyncdDrops, gsyncdName, obey } from './control-xattrs.ts'
import type { FuseBridge } from './index.ts'
import { stale } from './rules.ts'

type Ops = Pick<FuseOps, 'setxattr' | 'getxattr' | 'listxattr' | 'removexattr'>

const ACL_PREFIX = 'system.posix_acl_'

/** XATTR_SIZE_MAX, of a value and of a list of names. */
const VALUE_BYTES_MAX = 65536

/** Belong to the volume: not to be changed through the mount. */
const READ_ONLY: ReadonlySet<string> = new Set(['trusted.gfid', 'trusted.glusterfs.volume-id'])

/** Names that applications may see: the kernel's namespaces without GlusterFS's own keys. */
const VISIBLE = /^(user|trusted|security|system)\./
const INTERNAL = /^trusted\.(gfid|glusterfs\.|afr\.|ec\.|pgfid\.|bit-rot\.|SGI_ACL_)/

export class XattrOps implements Ops {
  readonly #bridge: FuseBridge

  constructor(bridge: FuseBridge) {
    this.#bridge = bridge
  }

  /**
   * Why a name is not served, for reading and for changing it. `ls -l` asks for the label of every
   * file, unless one was EOPNOTSUPP: a request a file, which ENODATA, as the stock client has it,
   * costs.
   */
  readonly #refused = (name: string, reading: boolean): Errno | 0 => {
    if (name.startsWith(ACL_PREFIX) && !this.#bridge.acl) return E.OPNOTSUPP
    if (name === 'security.selinux' && !this.#bridge.options.selinux) return E.OPNOTSUPP
    const capability =
      name === 'security.capability' &&
      !this.#bridge.options.capability &&
      !this.#bridge.options.selinux
    if (capability) return reading ? E.NODATA : E.OPNOTSUPP
    return 0
  }

  readonly #inodeFor = async (request: FuseRequest): Promise<Inode | Errno> => {
    const inode = this.#bridge.inodeOf(request)
    if (inode === undefined) return E.STALE
    const errno = await this.#bridge.ready(request, inode)
    return errno !== 0 && this.#bridge.files.openOn(inode) === undefined ? errno : inode
  }

  /** A file without a name can still be asked through whoever has it open. */
  readonly #orByFd = <R extends { errno: number }>(
    request: FuseRequest,
    inode: Inode,
    rep: R,
    byFd: (fd: Fd, top: Xlator) => MaybePromise<R>,
  ): MaybePromise<R> => {
    if (rep.errno !== E.STALE && rep.errno !== E.NOENT) return rep
    const file = this.#bridge.files.openOn(inode)
    if (file === undefined) return rep
    this.#bridge.hold(request, file)
    return byFd(file.fd, file.home?.graph.top ?? request.top)
  }

  readonly #get = async (
    request: FuseRequest,
    inode: Inode,
    name: string | undefined,
  ): Promise<Rep<'getxattr'>> => {
    const { frame, top } = request
    const rep = await frame.wind(top, 'getxattr', { loc: Loc.ofInode(inode), name })
    return this.#orByFd(request, inode, rep, (fd, above) =>
      frame.wind(above, 'fgetxattr', { fd, name }),
    )
  }

  get #gsyncd(): boolean {
    return this.#bridge.options['client-pid'] === CLIENT_PID_GSYNCD
  }

  setxattr: Ops['setxattr'] = async (request, { name: asked, flags, value }) => {
    const done = obey(this.#bridge, asked, value)
    if (done !== undefined) return void (done === 0 ? request.ok() : request.error(done))
    if (this.#gsyncd && gsyncdDrops(asked)) return void request.ok()
    const name = this.#gsyncd ? gsyncdName(asked) : asked
    if (READ_ONLY.has(name)) return void request.error(E.PERM)
    const errno = this.#refused(name, false)
    if (errno !== 0) return void request.error(errno)
    const inode = await this.#inodeFor(request)
    if (typeof inode === 'number') return void request.error(inode)
    if (name === 'inode-invalidate') {
      this.#bridge.invalidator.names(inode)
      return void request.ok()
    }
    const dict = new Dict().setBytes(name, value)
    const loc = Loc.ofInode(inode)
    const { frame, top } = request
    const rep = await this.#orByFd(
      request,
      inode,
      await frame.wind(top, 'setxattr', { loc, dict, flags }),
      (fd, above) => frame.wind(above, 'fsetxattr', { fd, dict, flags }),
    )
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    // An ACL is part of the mode, which the kernel thinks it knows.
    if (name.startsWith(ACL_PREFIX)) this.#bridge.invalidator.inode(inode, false)
    request.ok()
  }

  getxattr: Ops['getxattr'] = async (request, { name: asked, size }) => {
    const name = this.#gsyncd ? gsyncdName(asked) : asked
    const errno = this.#refused(name, true)
    if (errno !== 0) return void request.error(errno)
    const inode = await this.#inodeFor(request)
    if (typeof inode === 'number') return void request.error(inode)
    const own = virtualValue(inode, name)
    if (own !== undefined) return replyValue(request, own, size)
    const rep = await this.#get(request, inode, name)
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    const value = valueBytes(rep.dict, name)
    if (value === undefined) return void request.error(E.NODATA)
    replyValue(request, value, size)
  }

  listxattr: Ops['listxattr'] = async (request, { size }) => {
    const inode = await this.#inodeFor(request)
    if (typeof inode === 'number') return void request.error(inode)
    const rep = await this.#get(request, inode, undefined)
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    let names = ''
    for (const name of rep.dict.entries.keys()) {
      if (!VISIBLE.test(name) || INTERNAL.test(name) || this.#refused(name, true) !== 0) continue
      if (this.#gsyncd && name.includes('.selinux')) continue
      // As the kernel's own file systems do (trusted.* is for CAP_SYS_ADMIN).
      if (name.startsWith('trusted.') && request.uid !== 0) continue
      names += `${name}\0`
    }
    replyValue(request, Buffer.from(names, 'latin1'), size)
  }

  removexattr: Ops['removexattr'] = async (request, asked) => {
    const name = this.#gsyncd ? gsyncdName(asked) : asked
    if (READ_ONLY.has(name)) return void request.error(E.PERM)
    // stock lets ACLs be removed without --acl, too
    const errno = name.startsWith(ACL_PREFIX) ? 0 : this.#refused(name, false)
    if (errno !== 0) return void request.error(errno)
    const inode = await this.#inodeFor(request)
    if (typeof inode === 'number') return void request.error(inode)
    const loc = Loc.ofInode(inode)
    const { frame, top } = request
    const rep = await this.#orByFd(
      request,
      inode,
      await frame.wind(top, 'removexattr', { loc, name }),
      (fd, above) => frame.wind(above, 'fremovexattr', { fd, name }),
    )
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    if (name.startsWith(ACL_PREFIX)) this.#bridge.invalidator.inode(inode, false)
    request.ok()
  }
}

/** The value, or with `size` 0 its length. */
function replyValue(request: FuseRequest, value: Buffer, size: number): void {
  if (size === 0) request.count(value.length)
  else if (value.length > VALUE_BYTES_MAX) request.error(E.TOOBIG)
  else if (value.length > size) request.error(E.RANGE)
  else request.data([value], value.length)
}

/** Strings (glusterfs.pathinfo and the like) are shown with their NUL, as stock does. */
function valueBytes(dict: Dict, name: string): Buffer | undefined {
  const entry: DictValue | undefined = dict.get(name)
  if (entry?.type === 'str') return Buffer.from(`${entry.value}\0`, 'latin1')
  return dict.getBytes(name)
}

function virtualValue(inode: Inode, name: string): Buffer | undefined {
  if (name === 'glusterfs.gfid') return gfidToBytes(inode.gfid)
  if (name === 'glusterfs.gfid.string') return Buffer.from(gfidText(inode.gfid), 'latin1')
  return undefined
}
