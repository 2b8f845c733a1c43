/** protocol/client: passes every fop through. */
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'

export const options = defineOptions({})

export class Client extends Xlator<typeof options> {}

export default defineXlator({ type: 'protocol/client', class: Client, options, children: 0 })
