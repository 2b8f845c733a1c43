/** What translators that keep a file on several bricks at once have in common. */
import { E } from '../../../src/core/errno.ts'
import type { Fop } from '../../../src/core/fop.ts'
import type { OptionTable } from '../../../src/core/options.ts'
import { Xlator } from '../../../src/core/xlator.ts'

const refuse = (): { errno: typeof E.OPNOTSUPP } => ({ errno: E.OPNOTSUPP })

export abstract class OverBricks<T extends OptionTable> extends Xlator<T> {
  // One brick's answer to these says nothing of the file, and what one brick alone did would stay a
  // difference. Stock has none of them on several bricks either.
  rchecksum: Fop<'rchecksum'> = refuse
  lease: Fop<'lease'> = refuse
  getactivelk: Fop<'getactivelk'> = refuse
  setactivelk: Fop<'setactivelk'> = refuse
  put: Fop<'put'> = refuse
  icreate: Fop<'icreate'> = refuse
  namelink: Fop<'namelink'> = refuse
  copy_file_range: Fop<'copy_file_range'> = refuse

  /** This translator where a plain Xlator is asked for. */
  get self(): Xlator {
    return this as unknown as Xlator
  }
}
