/** debug/io-stats: passes every fop through. */
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'

export const options = defineOptions({})

export class IoStats extends Xlator<typeof options> {}

export default defineXlator({ type: 'debug/io-stats', class: IoStats, options, children: 1 })
