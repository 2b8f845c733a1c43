/**
 * features/cloudsync: on a client it fetches files whose data was moved to a store elsewhere. That
 * needs a store's plug-in; files that are where they should be pass through, as they do in stock.
 */
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'

const NO_STORE = 'no store is supported: files are read from the bricks'

export const options = defineOptions({
  cloudsync: {
    type: 'bool',
    default: 'off',
    description: 'The volume may have files elsewhere.',
    noEffect: NO_STORE,
  },
  'cloudsync-storetype': { type: 'str', description: 'Kind of store.', noEffect: NO_STORE },
  'cloudsync-remote-read': {
    type: 'bool',
    default: 'off',
    description: 'Read from the store without fetching the file.',
    noEffect: NO_STORE,
  },
  'cloudsync-store-id': { type: 'str', description: 'Which store.', noEffect: NO_STORE },
  'cloudsync-product-id': { type: 'str', description: 'Which product.', noEffect: NO_STORE },
})

export class Cloudsync extends Xlator<typeof options> {}

export default defineXlator({ type: 'features/cloudsync', class: Cloudsync, options, children: 1 })
