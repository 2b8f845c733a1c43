/**
 * system/posix-acl (mount option acl): permissions by POSIX ACLs on the client, where the kernel
 * then checks none. The rules are those of features/access-control on the bricks, which check once
 * more; here they keep what caches answer from those who may not have it.
 *
 * Unlike stock, what is known of an object is asked anew after a second, so that an ACL changed by
 * another client counts even while the object is in use. Modes and default ACLs of new objects are
 * left to the bricks, which have them at hand: `umask` and `mode` go there in xdata.
 */
import { clock } from '../../../src/core/clock.ts'
import { InodeContext } from '../../../src/core/context.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type {
  Fop,
  FopError,
  FopName,
  FopTable,
  MaybePromise,
  Rep,
  Req,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Iatt, S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, type Xlator, type XlatorInit } from '../../../src/core/xlator.ts'
import { AccessControl, type Attributes } from '../../features/access-control/index.ts'
import {
  ACCESS_ACL_KEY,
  DEFAULT_ACL_KEY,
  EXECUTE,
  isPrivileged,
  WRITE,
} from '../../features/access-control/permission.ts'

export const options = defineOptions({})

/** How long an object's owner, mode and ACL are believed, ms. */
const BELIEVED_MS = 1000

/** What is known of an object: a lookup's reply. `xdata` has its ACLs. */
interface Known extends Attributes {
  /** When it was learned, monotonic ms. */
  at: number
}

/** Fops that change owner, mode or ACL of their object. */
const CHANGING = [
  'setattr',
  'fsetattr',
  'setxattr',
  'fsetxattr',
  'removexattr',
  'fremovexattr',
] as const satisfies readonly FopName[]

export class PosixAcl extends AccessControl {
  readonly #known = new InodeContext<Known>(this as unknown as Xlator)

  constructor(init: XlatorInit<typeof options>) {
    super(init)
    for (const fop of CHANGING) this.#forgetAfter(fop)
  }

  override lookup: Fop<'lookup'> = async (frame, req) => {
    const { parent, inode } = req.loc
    if (parent !== undefined && !isPrivileged(frame.creds)) {
      const errno = await this.check(frame, Loc.ofInode(parent), EXECUTE)
      if (errno !== 0) return { errno }
    }
    const rep = await frame.wind(this.child, 'lookup', { ...req, xdata: withKeys(req.xdata) })
    if (rep.errno === 0) this.#remember(inode, rep.stat, rep.xdata)
    return rep
  }

  readdirp: Fop<'readdirp'> = async (frame, req) => {
    const rep = await frame.wind(this.child, 'readdirp', { ...req, xdata: withKeys(req.xdata) })
    if (rep.errno !== 0) return rep
    for (const { inode, stat, xdata } of rep.entries) {
      // A zeroed ctime marks attributes that are not the true ones.
      if (inode !== undefined && stat !== undefined && stat.ctime !== 0) {
        this.#remember(inode, stat, xdata)
      }
    }
    return rep
  }

  /**
   * Answered here. Root may all but execute a file nobody may (access(2)); stock lets root do that,
   * too, and then the kernel refuses.
   */
  override access: Fop<'access'> = async (frame, req) => {
    const errno = isPrivileged(frame.creds)
      ? await this.#rootAccess(frame, req.loc, req.mask)
      : await this.check(frame, req.loc, req.mask & 7)
    return errno === 0 ? { errno: 0 } : { errno }
  }

  readonly #rootAccess = async (frame: Frame, loc: Loc, mask: number): Promise<0 | Errno> => {
    if ((mask & EXECUTE) === 0) return 0
    const known = await this.ask(frame, loc)
    if (known.errno !== 0) return known.errno
    const { mode } = known.stat
    return (mode & S_IFMT) === S_IFREG && (mode & 0o111) === 0 ? E.ACCES : 0
  }

  override mknod: Fop<'mknod'> = (frame, req) =>
    this.inParent(frame, req.loc.parent, WRITE | EXECUTE, 'mknod', req)
  override mkdir: Fop<'mkdir'> = (frame, req) =>
    this.inParent(frame, req.loc.parent, WRITE | EXECUTE, 'mkdir', req)
  override create: Fop<'create'> = (frame, req) =>
    this.inParent(frame, req.loc.parent, WRITE | EXECUTE, 'create', req)

  protected override async ask(frame: Frame, loc: Loc): Promise<Attributes | FopError> {
    const known = this.#known.get(loc.inode)
    if (known !== undefined && clock.now() - known.at < BELIEVED_MS) return known
    const asked = await super.ask(frame, loc, [ACCESS_ACL_KEY, DEFAULT_ACL_KEY])
    if (asked.errno === 0) this.#remember(loc.inode, asked.stat, asked.xdata)
    return asked
  }

  /** The table's own inode of the object has it, where the reply's is a stand-in. */
  #remember(inode: Inode, stat: Iatt, xdata: Dict | undefined): void {
    const holder = inode.table.byGfid(stat.gfid) ?? inode
    this.#known.set(holder, { errno: 0, stat, xdata, at: clock.now() })
  }

  #forgetAfter<K extends (typeof CHANGING)[number]>(fop: K): void {
    const table = this as unknown as FopTable
    const checked = table[fop] as unknown as (frame: Frame, req: Req<K>) => MaybePromise<Rep<K>>
    const changing = async (frame: Frame, req: Req<K>): Promise<Rep<K>> => {
      const rep = await checked(frame, req)
      this.#known.delete('fd' in req ? req.fd.inode : req.loc.inode)
      return rep
    }
    Object.assign(this, { [fop]: changing })
  }
}

/** The request's xdata, asking for the ACLs, too. */
function withKeys(xdata: Dict | undefined): Dict {
  const keys = xdata?.clone() ?? new Dict()
  return keys.setInt(ACCESS_ACL_KEY, 0).setInt(DEFAULT_ACL_KEY, 0)
}

export default defineXlator({
  type: 'system/posix-acl',
  class: PosixAcl,
  options,
  children: 1,
})
