/** Options of protocol/client as glusterd writes them into volfiles (client.c). */
import { defineOptions } from '../../../src/core/options.ts'

const LISTENS = 'it is for who listens, and a client does not'
const SINGLE_THREAD = 'one event loop serves all connections'

export const options = defineOptions({
  'remote-host': {
    type: 'address',
    description: 'Host of the brick and of its glusterd; default: the server of the volfile.',
  },
  'remote-port': {
    type: 'int',
    min: 1,
    max: 65535,
    description: 'Port of the brick (or of another glusterd); default: ask glusterd on 24007.',
  },
  'remote-subvolume': { type: 'any', description: 'Path of the brick on its host.' },
  'transport-type': {
    type: 'str',
    default: 'tcp',
    values: ['tcp', 'socket'],
    description: 'How the brick is reached.',
  },
  'transport.address-family': {
    type: 'str',
    default: 'unspec',
    alias: ['address-family'],
    values: ['inet', 'inet6', 'unspec'],
    description: 'Addresses of remote-host to use.',
  },
  'ping-timeout': {
    type: 'time',
    default: '42',
    min: 0,
    max: 1013,
    description: 'Seconds without a sign of life after which the brick is given up; 0 = never.',
  },
  'frame-timeout': {
    type: 'time',
    default: '1800',
    min: 0,
    max: 86400,
    description: 'Seconds a call may wait for its reply. Waiting for a lock is not limited.',
  },
  'send-gids': {
    type: 'bool',
    default: 'on',
    description: "Send the caller's supplementary groups; off: the primary one only.",
  },
  'strict-locks': {
    type: 'bool',
    default: 'off',
    description: 'Do not reopen files that held locks when their brick was lost.',
  },
  'filter-O_DIRECT': {
    type: 'bool',
    default: 'disable',
    description: 'Open files on the brick without O_DIRECT.',
  },
  'client-bind-insecure': {
    type: 'bool',
    default: 'on',
    description: 'Off: connect from a port below 1024.',
  },
  username: { type: 'any', description: 'Login on the brick (auth.login).' },
  password: { type: 'any', description: 'Its password.' },
  'transport.tcp-user-timeout': {
    type: 'time',
    default: '42',
    min: 0,
    max: 1013,
    description: 'Seconds sent data may stay unacknowledged; 0 = as the kernel does.',
  },
  'transport.socket.keepalive': {
    type: 'bool',
    default: 'on',
    alias: ['transport.keepalive'],
    description: 'Let the kernel probe a brick that nothing is heard of.',
  },
  'transport.socket.keepalive-time': {
    type: 'time',
    default: '20',
    min: 1,
    description: 'Seconds without traffic before the first keepalive probe.',
  },
  'transport.socket.keepalive-interval': {
    type: 'time',
    default: '2',
    min: 1,
    description: 'Seconds between keepalive probes.',
  },
  'transport.socket.keepalive-count': {
    type: 'int',
    default: '9',
    min: 1,
    description: 'Probes without an answer that end the connection.',
  },
  'transport.socket.ssl-enabled': {
    type: 'bool',
    default: 'off',
    description: 'TLS on the connection to the brick.',
  },
  'transport.socket.ssl-own-cert': {
    type: 'path',
    description: "Our certificate chain; default glusterfs.pem in OpenSSL's directory.",
  },
  'transport.socket.ssl-private-key': {
    type: 'path',
    description: 'Its private key; default glusterfs.key there.',
  },
  'transport.socket.ssl-ca-list': {
    type: 'path',
    description: 'Certificates that vouch for the brick; default glusterfs.ca there.',
  },
  'transport.socket.ssl-crl-path': {
    type: 'any',
    description: 'File, or directory of files, of revoked certificates.',
  },
  'transport.socket.ssl-cipher-list': {
    type: 'any',
    description: 'Ciphers in the notation of OpenSSL.',
  },
  'transport.socket.ssl-cert-depth': {
    type: 'int',
    default: '1',
    min: 0,
    description: "Intermediate certificates allowed above the brick's.",
  },
  'transport.socket.ssl-dh-param': {
    type: 'any',
    noEffect: 'a server decides on Diffie-Hellman parameters',
    description: 'Diffie-Hellman parameters.',
  },
  'transport.socket.ssl-ec-curve': {
    type: 'any',
    description: 'Curve for the key exchange.',
  },
  'tcp-window-size': {
    type: 'size',
    default: '0',
    max: 2 ** 30,
    alias: ['transport.tcp-window-size'],
    description: 'Size of the send and the receive buffer; 0 = as the kernel does.',
  },
  'transport.socket.nodelay': {
    type: 'bool',
    default: 'on',
    description: 'Send small requests at once (TCP_NODELAY).',
  },
  'transport.socket.source-addr': {
    type: 'any',
    description: 'Local address to connect from.',
  },
  'transport.socket.bind-address': { type: 'any', noEffect: LISTENS, description: 'To listen on.' },
  'transport.socket.listen-port': { type: 'any', noEffect: LISTENS, description: 'To listen on.' },
  'transport.listen-backlog': {
    type: 'any',
    noEffect: LISTENS,
    description: 'Connections that may wait.',
  },
  'transport.socket.own-thread': {
    type: 'any',
    noEffect: SINGLE_THREAD,
    description: 'A thread for each connection.',
  },
  'transport.socket.ignore-enoent': {
    type: 'any',
    noEffect: 'it is about UNIX sockets, and bricks have none for clients',
    description: 'Do not log a missing socket.',
  },
  'transport.socket.lowlat': {
    type: 'any',
    noEffect: 'small requests are sent at once anyway',
    description: 'Obsolete.',
  },
  'transport.socket.read-fail-log': {
    type: 'bool',
    noEffect: 'a lost connection is always logged',
    description: 'Log failed reads.',
  },
  'event-threads': {
    type: 'int',
    noEffect: SINGLE_THREAD,
    description: 'Threads that read from connections.',
  },
  'lk-heal': {
    type: 'bool',
    noEffect: 'locks never survive a lost connection',
    description: 'Obsolete.',
  },
  'testing.old-protocol': {
    type: 'bool',
    noEffect: 'only the 4.x protocol is spoken',
    description: 'For tests of stock.',
  },
})

export type ClientOptions = typeof options
