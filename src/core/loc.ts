import { type Gfid, NULL_GFID } from './gfid.ts'
import { type Inode, type InodeTable, inodePath } from './inode.ts'

/**
 * Where a path-based fop works. Three forms: an inode known by gfid; a name in a parent directory
 * (`inode` is the known inode of that name or a fresh one); a bare gfid to be looked up.
 */
export class Loc {
  readonly inode: Inode
  readonly parent: Inode | undefined
  /** Raw name bytes as latin1, without slash; `undefined` when addressed by gfid. */
  readonly name: string | undefined
  readonly #gfid: Gfid

  constructor(inode: Inode, parent?: Inode, name?: string, gfid: Gfid = NULL_GFID) {
    this.inode = inode
    this.parent = parent
    this.name = name
    this.#gfid = gfid
  }

  static ofInode(inode: Inode): Loc {
    return new Loc(inode)
  }

  static ofName(parent: Inode, name: string, inode: Inode): Loc {
    return new Loc(inode, parent, name)
  }

  /** For a nameless lookup: the known inode, or a fresh one to be filled. */
  static ofGfid(table: InodeTable, gfid: Gfid): Loc {
    return new Loc(table.byGfid(gfid) ?? table.newInode(), undefined, undefined, gfid)
  }

  /** The object's gfid when known (inode, or the one asked for), else NULL_GFID. */
  get gfid(): Gfid {
    return this.inode.gfid !== NULL_GFID ? this.inode.gfid : this.#gfid
  }

  get pargfid(): Gfid {
    return this.parent?.gfid ?? NULL_GFID
  }

  /** Path from the volume root, latin1; for logs and for translators that hash it. */
  get path(): string {
    if (this.parent === undefined || this.name === undefined) return inodePath(this.inode)
    const parent = inodePath(this.parent)
    return parent === '/' ? `/${this.name}` : `${parent}/${this.name}`
  }
}
