/** Directory entries of readdir and readdirp replies, straight to and from the core's DirEntry. */
import type { DirEntry } from '../core/fop.ts'
import { gfx_dict } from './dict.ts'
import { gfx_iattx } from './iatt.ts'
import { type Reader, XdrError } from './reader.ts'
import * as xdr from './schema.ts'
import type { Writer } from './writer.ts'

/** Bytes of a name: no file system has longer ones. */
const NAME_SIZE_MAX = 4096

const dirent_head = xdr.record<
  Pick<DirEntry, 'inoHi' | 'inoLo' | 'off' | 'type'> & { len: number }
>('dirent', {
  d_ino: xdr.halves('inoHi', 'inoLo'),
  d_off: xdr.as('off', xdr.u64),
  d_len: xdr.as('len', xdr.u32),
  d_type: xdr.as('type', xdr.u32),
})

/** `d_ino u64, d_off u64, d_len u32, d_type u32, name`; d_len is the length of the name. */
export const gfx_dirent: xdr.Codec<DirEntry> = {
  name: 'gfx_dirent',
  minSize: 28,
  encode: encodeEntry,
  decode: (r) => decodeEntry(r),
}

/** The same, then the attributes and xattrs of the entry. */
export const gfx_direntp: xdr.Codec<DirEntry> = {
  name: 'gfx_direntp',
  minSize: 28 + gfx_iattx.minSize + gfx_dict.minSize,
  encode(w, entry, field = 'stat') {
    encodeEntry(w, entry)
    if (entry.stat === undefined) throw w.refuse(field, `entry '${entry.name}' without stat`)
    gfx_iattx.encode(w, entry.stat)
    gfx_dict.encode(w, entry.xdata)
  },
  decode(r) {
    const entry = decodeEntry(r)
    entry.stat = gfx_iattx.decode(r)
    entry.xdata = gfx_dict.decode(r)
    return entry
  },
}

function encodeEntry(w: Writer, entry: DirEntry): void {
  const { inoHi, inoLo, off, type, name } = entry
  dirent_head.encode(w, { inoHi, inoLo, off, type, len: name.length })
  w.string(name, NAME_SIZE_MAX, 'name')
}

function decodeEntry(r: Reader): DirEntry {
  const { inoHi, inoLo, off, type, len } = dirent_head.decode(r)
  const name = r.string(NAME_SIZE_MAX, 'name')
  if (name.length !== len) {
    throw new XdrError('d_len', r.position, `${len}, but the name has ${name.length} bytes`)
  }
  return { name, inoHi, inoLo, off, type, stat: undefined, xdata: undefined, inode: undefined }
}
