/**
 * storage/posix: a brick. Keeps files in a directory of a local file system in GlusterFS's on-disk
 * format, so that stock bricks and this one can take over from each other.
 *
 * Modes and owners are carried out, not checked (features/access-control does). Locks, indices and
 * client notifications are those of the translators above. Differences to stock: O_DIRECT is not
 * passed on, fsyncs are not batched, `trusted.pgfid.*` is not kept, put/icreate/namelink and leases
 * are refused (stock's bricks refuse them on the wire).
 */
import { E } from '../../../src/core/errno.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import type { Event } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Fop } from '../../../src/core/fop.ts'
import type { OptionValues } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { readlinkAt } from '../../../src/sys/entry.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { statFs } from '../../../src/sys/stat.ts'
import { iattOf } from './attributes.ts'
import { Brick } from './brick.ts'
import * as creating from './create.ts'
import * as data from './data.ts'
import { Housekeeping } from './housekeeping.ts'
import * as lookups from './lookup.ts'
import { options } from './options.ts'
import { fail, fileOf, objectOf } from './place.ts'
import * as removing from './remove.ts'
import * as xattrs from './xattrs.ts'
import { xdataFor } from './xdata.ts'

export { options } from './options.ts'

/** The kernel's mark in f_flags that the others are valid; statvfs(3) hides it. */
const ST_VALID = 0x20

const refused = (): { errno: typeof E.OPNOTSUPP } => ({ errno: E.OPNOTSUPP })
const absent = (): { errno: typeof E.NOSYS } => ({ errno: E.NOSYS })

export class Posix extends Xlator<typeof options> {
  #brick!: Brick
  #housekeeping: Housekeeping | undefined

  override init(): void {
    const { directory } = this.options
    if (directory === undefined) {
      throw new GlusterError('OPTION_INVALID', `volume '${this.name}': option directory is missing`)
    }
    this.#brick = new Brick(this as unknown as Xlator, directory, this.options)
    this.#brick.start()
    this.#housekeeping = new Housekeeping(this.#brick, (why) => {
      this.log.fatal(`brick ${directory}: ${why}; going down`)
      this.notifyParents({ type: 'child-down' })
    })
    this.#housekeeping.start()
  }

  override fini(): void {
    this.#housekeeping?.stop()
    this.#brick.stop()
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    super.reconfigure(values)
    this.#brick.options = values
  }

  override notify(event: Event, _from: Xlator | undefined): void {
    if (event.type === 'parent-up') this.notifyParents({ type: 'child-up' })
  }

  stat: Fop<'stat'> = (_frame, req) => {
    const object = objectOf(this.#brick, req.loc)
    if (object.errno !== 0) return object
    const stat = iattOf(object.target, object.gfid)
    if (typeof stat === 'number') return fail(stat)
    const xdata = xdataFor(this.#brick, object.target, object.gfid, stat, req.xdata)
    return { errno: 0, stat, xdata }
  }

  readlink: Fop<'readlink'> = (_frame, req) => {
    const object = objectOf(this.#brick, req.loc)
    if (object.errno !== 0) return object
    if (typeof object.target === 'number') return { errno: E.INVAL }
    const path = readlinkAt(AT_FDCWD, object.target)
    if (typeof path === 'number') return fail(path)
    const stat = iattOf(object.target, object.gfid)
    if (typeof stat === 'number') return fail(stat)
    return { errno: 0, path: path.slice(0, req.size), stat }
  }

  mknod: Fop<'mknod'> = (frame, req) => creating.mknod(this.#brick, frame, req)
  mkdir: Fop<'mkdir'> = (frame, req) => creating.mkdir(this.#brick, frame, req)
  unlink: Fop<'unlink'> = (frame, req) => removing.unlink(this.#brick, frame, req)
  rmdir: Fop<'rmdir'> = (frame, req) => removing.rmdir(this.#brick, frame, req)
  symlink: Fop<'symlink'> = (frame, req) => creating.symlink(this.#brick, frame, req)
  rename: Fop<'rename'> = (frame, req) => removing.rename(this.#brick, frame, req)
  link: Fop<'link'> = (frame, req) => creating.link(this.#brick, frame, req)
  truncate: Fop<'truncate'> = (frame, req) => data.truncate(this.#brick, frame, req)
  open: Fop<'open'> = (frame, req) => data.open(this.#brick, frame, req)
  readv: Fop<'readv'> = (frame, req) => data.readv(this.#brick, frame, req)
  writev: Fop<'writev'> = (frame, req) => data.writev(this.#brick, frame, req)

  statfs: Fop<'statfs'> = () => {
    const fs = statFs(this.#brick.rootFd)
    if (typeof fs === 'number') return fail(fs)
    const shared = Math.max(1, this.options['shared-brick-count'])
    const share = (count: number): number => Math.floor(count / shared)
    const reserved = Math.ceil(this.#brick.reserved(fs.blocks * fs.frsize) / fs.frsize)
    // Only what is beyond the file system's own reserve shrinks by ours, as stock shows it.
    const free = Math.max(0, fs.bfree - reserved)
    const statfs = {
      bsize: fs.bsize,
      frsize: fs.frsize,
      blocks: share(fs.blocks),
      bfree: share(free),
      bavail: share(Math.min(fs.bavail, free)),
      files: share(fs.files),
      ffree: share(fs.ffree),
      favail: share(fs.ffree),
      fsid: fs.fsid,
      flag: fs.flags & ~ST_VALID,
      namemax: fs.namemax,
    }
    return { errno: 0, statfs }
  }

  /** Nothing is buffered here; features/locks acts on it. */
  flush: Fop<'flush'> = () => ({ errno: 0 })
  fsync: Fop<'fsync'> = (_frame, req) => data.fsync(this.#brick, req)

  setxattr: Fop<'setxattr'> = (frame, req) => {
    const object = objectOf(this.#brick, req.loc)
    if (object.errno !== 0) return object
    return xattrs.setXattrs(frame, object.target, object.gfid, req.dict, req.flags)
  }

  getxattr: Fop<'getxattr'> = (frame, req) => {
    const object = objectOf(this.#brick, req.loc)
    if (object.errno !== 0) return object
    return xattrs.getXattrs(this.#brick, frame, object.target, object.gfid, req.name)
  }

  removexattr: Fop<'removexattr'> = (frame, req) => {
    const object = objectOf(this.#brick, req.loc)
    if (object.errno !== 0) return object
    return xattrs.removeXattrs(frame, object.target, object.gfid, req.name, req.xdata)
  }

  opendir: Fop<'opendir'> = (frame, req) => data.opendir(this.#brick, frame, req)
  fsyncdir: Fop<'fsyncdir'> = (_frame, req) => data.fsyncdir(this.#brick, req)

  /** Existence only: permissions are features/access-control's. */
  access: Fop<'access'> = (_frame, req) => {
    const object = objectOf(this.#brick, req.loc)
    return object.errno !== 0 ? object : { errno: 0 }
  }

  create: Fop<'create'> = (frame, req) => creating.create(this.#brick, frame, req)
  ftruncate: Fop<'ftruncate'> = (frame, req) => data.ftruncate(this.#brick, frame, req)

  fstat: Fop<'fstat'> = (_frame, req) => {
    const file = fileOf(this.#brick, req.fd)
    if (file.errno !== 0) return file
    const stat = iattOf(file.fd, file.gfid)
    const xdata =
      typeof stat === 'number'
        ? undefined
        : xdataFor(this.#brick, file.fd, file.gfid, stat, req.xdata)
    file.done()
    return typeof stat === 'number' ? fail(stat) : { errno: 0, stat, xdata }
  }

  lk: Fop<'lk'> = absent
  lookup: Fop<'lookup'> = (_frame, req) => lookups.lookup(this.#brick, req)
  readdir: Fop<'readdir'> = (_frame, req) => lookups.readdir(this.#brick, req)
  inodelk: Fop<'inodelk'> = absent
  finodelk: Fop<'finodelk'> = absent
  entrylk: Fop<'entrylk'> = absent
  fentrylk: Fop<'fentrylk'> = absent

  xattrop: Fop<'xattrop'> = (_frame, req) => {
    const object = objectOf(this.#brick, req.loc)
    if (object.errno !== 0) return object
    const { target, gfid } = object
    const rep = xattrs.xattropOn(target, req.op, req.dict)
    if (rep.errno !== 0 || req.xdata === undefined) return rep
    const stat = iattOf(target, gfid)
    if (typeof stat === 'number') return fail(stat)
    return { ...rep, xdata: xdataFor(this.#brick, target, gfid, stat, req.xdata) }
  }

  fxattrop: Fop<'fxattrop'> = (_frame, req) => {
    const file = fileOf(this.#brick, req.fd)
    if (file.errno !== 0) return file
    const rep = xattrs.xattropOn(file.fd, req.op, req.dict)
    const stat = rep.errno === 0 && req.xdata !== undefined ? iattOf(file.fd, file.gfid) : 0
    const xdata =
      typeof stat === 'number'
        ? undefined
        : xdataFor(this.#brick, file.fd, file.gfid, stat, req.xdata)
    file.done()
    return rep.errno !== 0 ? rep : { ...rep, xdata }
  }

  fgetxattr: Fop<'fgetxattr'> = (frame, req) =>
    this.#onFd(req.fd, (fd, gfid) => xattrs.getXattrs(this.#brick, frame, fd, gfid, req.name))
  fsetxattr: Fop<'fsetxattr'> = (frame, req) =>
    this.#onFd(req.fd, (fd, gfid) => xattrs.setXattrs(frame, fd, gfid, req.dict, req.flags))
  rchecksum: Fop<'rchecksum'> = (_frame, req) => data.rchecksum(this.#brick, req)

  setattr: Fop<'setattr'> = (frame, req) => {
    const object = objectOf(this.#brick, req.loc)
    if (object.errno !== 0) return object
    return xattrs.setattr(frame, object.target, object.gfid, req.stat, req.valid)
  }

  fsetattr: Fop<'fsetattr'> = (frame, req) =>
    this.#onFd(req.fd, (fd, gfid) => xattrs.setattr(frame, fd, gfid, req.stat, req.valid))
  readdirp: Fop<'readdirp'> = (_frame, req) => lookups.readdirp(this.#brick, req)
  fremovexattr: Fop<'fremovexattr'> = (frame, req) =>
    this.#onFd(req.fd, (fd, gfid) => xattrs.removeXattrs(frame, fd, gfid, req.name, req.xdata))
  fallocate: Fop<'fallocate'> = (frame, req) => data.fallocate(this.#brick, frame, req)
  discard: Fop<'discard'> = (frame, req) => data.discard(this.#brick, frame, req)
  zerofill: Fop<'zerofill'> = (frame, req) => data.zerofill(this.#brick, frame, req)
  ipc: Fop<'ipc'> = refused
  seek: Fop<'seek'> = (_frame, req) => data.seek(this.#brick, req)
  lease: Fop<'lease'> = refused
  getactivelk: Fop<'getactivelk'> = absent
  setactivelk: Fop<'setactivelk'> = absent
  put: Fop<'put'> = absent
  icreate: Fop<'icreate'> = absent
  namelink: Fop<'namelink'> = absent
  copy_file_range: Fop<'copy_file_range'> = (frame, req) =>
    data.copyFileRange(this.#brick, frame, req)

  override release(fd: Fd): void {
    const file = this.#brick.files.get(fd)
    if (file !== undefined) this.#brick.closed(file)
  }

  override releasedir(fd: Fd): void {
    this.release(fd)
  }

  override dump(sink: DumpSink): void {
    sink.pair('base_path', this.#brick.path)
    sink.pair('queued_files', this.#brick.writes.size)
    sink.pair('open_files', this.#brick.openFiles)
  }

  #onFd<T>(fd: Fd, job: (fd: number, gfid: Parameters<typeof iattOf>[1]) => T) {
    const file = fileOf(this.#brick, fd)
    if (file.errno !== 0) return file
    const result = job(file.fd, file.gfid)
    file.done()
    return result
  }
}

export default defineXlator({ type: 'storage/posix', class: Posix, options, children: 0 })
