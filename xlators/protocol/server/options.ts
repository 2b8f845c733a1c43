/** Options of protocol/server. */
import { defineOptions } from '../../../src/core/options.ts'

const TRANSPORT = 'bricks listen on TCP without TLS'

export const options = defineOptions({
  'transport.socket.listen-port': {
    type: 'int',
    min: 0,
    max: 65535,
    default: '0',
    description: 'Where the brick listens; 0 = on any free port.',
  },
  'transport.socket.bind-address': {
    type: 'address',
    default: '127.0.0.1',
    description: 'On which address the brick listens.',
  },
  'transport-type': {
    type: 'str',
    default: 'tcp',
    values: ['tcp', 'socket'],
    description: 'How clients connect.',
  },
  'transport.address-family': {
    type: 'str',
    default: 'inet',
    description: 'Address family.',
    noEffect: TRANSPORT,
  },
})
