/** meta: passes every fop through. */
import { defineOptions } from '../../src/core/options.ts'
import { defineXlator, Xlator } from '../../src/core/xlator.ts'

export const options = defineOptions({})

export class Meta extends Xlator<typeof options> {}

export default defineXlator({ type: 'meta', class: Meta, options, children: 1 })
