/**
 * features/utime: the client decides the times of its changes. Every fop that changes times carries
 * the client's clock and a mask of the times meant; bricks keep them in `trusted.glusterfs.mdata`,
 * so that all copies of a file show the same times. Masks: those stock sends (spec 10 s.4), which
 * are not always those of its source: SETXATTR and DISCARD go unstamped.
 */
import { clock } from '../../../src/core/clock.ts'
import { Dict, type Mdata } from '../../../src/core/dict.ts'
import { errnoName } from '../../../src/core/errno.ts'
import type { Fop, FopName, Req } from '../../../src/core/fop.ts'
import { CLIENT_PID_SET_UTIME, type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import {
  type Iatt,
  SET_ATTR_ATIME,
  SET_ATTR_ATIME_NOW,
  SET_ATTR_GID,
  SET_ATTR_MODE,
  SET_ATTR_MTIME,
  SET_ATTR_MTIME_NOW,
  SET_ATTR_UID,
} from '../../../src/core/iatt.ts'
import { Loc } from '../../../src/core/loc.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'

export const options = defineOptions({
  noatime: { type: 'bool', default: 'on', description: 'Reads and opens do not set the atime.' },
})

/** Bits of the credential's time mask. */
const CTIME = 1
const MTIME = 2
const ATIME = 4
const PARENT_CTIME = 8
const PARENT_MTIME = 16

const CREATES = ATIME | CTIME | MTIME | PARENT_CTIME | PARENT_MTIME
const RELINKS = CTIME | PARENT_CTIME | PARENT_MTIME

const MDATA_KEY = 'trusted.glusterfs.mdata'
const SET_MDATA_KEY = 'set-ctime-mdata'

export class Utime extends Xlator<typeof options> {
  mknod: Fop<'mknod'> = (frame, req) => this.#stamped(frame, CREATES, 'mknod', req)
  mkdir: Fop<'mkdir'> = (frame, req) => this.#stamped(frame, CREATES, 'mkdir', req)
  unlink: Fop<'unlink'> = (frame, req) => this.#stamped(frame, RELINKS, 'unlink', req)
  rmdir: Fop<'rmdir'> = (frame, req) => this.#stamped(frame, RELINKS, 'rmdir', req)
  symlink: Fop<'symlink'> = (frame, req) => this.#stamped(frame, CREATES, 'symlink', req)
  rename: Fop<'rename'> = (frame, req) => this.#stamped(frame, RELINKS, 'rename', req)
  link: Fop<'link'> = (frame, req) => this.#stamped(frame, RELINKS, 'link', req)
  truncate: Fop<'truncate'> = (frame, req) => this.#stamped(frame, MTIME | CTIME, 'truncate', req)
  open: Fop<'open'> = (frame, req) => this.#stamped(frame, this.#accessed(), 'open', req)
  readv: Fop<'readv'> = (frame, req) => this.#stamped(frame, this.#accessed(), 'readv', req)
  writev: Fop<'writev'> = (frame, req) => this.#stamped(frame, MTIME | CTIME, 'writev', req)
  removexattr: Fop<'removexattr'> = (frame, req) => this.#stamped(frame, CTIME, 'removexattr', req)
  opendir: Fop<'opendir'> = (frame, req) => this.#stamped(frame, this.#accessed(), 'opendir', req)
  create: Fop<'create'> = (frame, req) => this.#stamped(frame, CREATES, 'create', req)
  ftruncate: Fop<'ftruncate'> = (frame, req) =>
    this.#stamped(frame, MTIME | CTIME, 'ftruncate', req)

  lookup: Fop<'lookup'> = async (frame, req) => {
    const xdata = req.xdata === undefined ? new Dict() : req.xdata.clone()
    if (!xdata.has(MDATA_KEY)) xdata.setInt(MDATA_KEY, 0)
    const rep = await frame.wind(this.child, 'lookup', { loc: req.loc, xdata })
    if (rep.errno !== 0 || rep.xdata?.has(MDATA_KEY) === true) return rep
    await this.#adopt(frame, req.loc, rep.stat)
    return rep
  }

  setattr: Fop<'setattr'> = (frame, req) =>
    setattrView(frame, req.valid, req.stat).tail(this.child, 'setattr', req)
  fsetattr: Fop<'fsetattr'> = (frame, req) =>
    setattrView(frame, req.valid, req.stat).tail(this.child, 'fsetattr', req)
  fremovexattr: Fop<'fremovexattr'> = (frame, req) =>
    this.#stamped(frame, CTIME, 'fremovexattr', req)
  fallocate: Fop<'fallocate'> = (frame, req) =>
    this.#stamped(frame, MTIME | ATIME, 'fallocate', req)
  zerofill: Fop<'zerofill'> = (frame, req) => this.#stamped(frame, MTIME | ATIME, 'zerofill', req)
  copy_file_range: Fop<'copy_file_range'> = (frame, req) =>
    this.#stamped(frame, MTIME | CTIME | this.#accessed(), 'copy_file_range', req)

  #accessed(): number {
    return this.options.noatime ? 0 : ATIME
  }

  #stamped<K extends FopName>(frame: Frame, timeFlags: number, fop: K, req: Req<K>) {
    const { sec, nsec } = clock.realtime()
    return frame.with({ timeFlags, timeSec: sec, timeNsec: nsec }).tail(this.child, fop, req)
  }

  /** A file from before the feature was on gets its mdata from the times it has now. */
  async #adopt(frame: Frame, loc: Loc, stat: Iatt): Promise<void> {
    const value: Mdata = {
      atime: stat.atime,
      mtime: stat.mtime,
      ctime: stat.ctime,
      atimeNsec: stat.atimeNsec,
      mtimeNsec: stat.mtimeNsec,
      ctimeNsec: stat.ctimeNsec,
    }
    const dict = new Dict().set(SET_MDATA_KEY, { type: 'mdata', value })
    // The inode may be fresh and without its gfid until the mount links it.
    const target = new Loc(loc.inode, loc.parent, loc.name, stat.gfid)
    const view = frame.with({ ...ROOT_CREDS, pid: CLIENT_PID_SET_UTIME })
    const rep = await view.wind(this.child, 'setxattr', { loc: target, dict, flags: 0 })
    if (rep.errno !== 0) {
      this.log.warn(`${loc.path}: its times could not be taken over: ${errnoName(rep.errno)}`)
    }
  }
}

/**
 * The ctime moves with the mode, the owner, or a call that names nothing. "Now" times are the
 * client's: the request already holds them, and the stamp must be the same instant.
 */
function setattrView(frame: Frame, valid: number, stat: Iatt): Frame {
  const times = SET_ATTR_ATIME | SET_ATTR_MTIME | SET_ATTR_ATIME_NOW | SET_ATTR_MTIME_NOW
  const owned = (valid & (SET_ATTR_MODE | SET_ATTR_UID | SET_ATTR_GID)) !== 0
  const timeFlags = owned || (valid & times) === 0 ? CTIME : 0
  if ((valid & SET_ATTR_ATIME_NOW) !== 0 && stat.atime !== 0) {
    return frame.with({ timeFlags, timeSec: stat.atime, timeNsec: stat.atimeNsec })
  }
  if ((valid & SET_ATTR_MTIME_NOW) !== 0 && stat.mtime !== 0) {
    return frame.with({ timeFlags, timeSec: stat.mtime, timeNsec: stat.mtimeNsec })
  }
  const { sec, nsec } = clock.realtime()
  return frame.with({ timeFlags, timeSec: sec, timeNsec: nsec })
}

export default defineXlator({ type: 'features/utime', class: Utime, options, children: 1 })
