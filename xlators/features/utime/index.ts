/** features/utime: passes every fop through. */
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'

export const options = defineOptions({})

export class Utime extends Xlator<typeof options> {}

export default defineXlator({ type: 'features/utime', class: Utime, options, children: 1 })
