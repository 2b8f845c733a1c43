/**
 * Every option of the `glusterfs` command, in the order of its help. This table alone drives the
 * parser, `--help`, `--usage` and the type of the parsed options.
 */
import { BUSY_POLL_US } from '../core/busy-poll.ts'

/** How an option's argument is read. A `flag` takes none. */
export type CliType = 'flag' | 'str' | 'int' | 'double' | 'bool' | 'bool-or-auto'

export type CliGroup = 'Basic options' | 'Advanced options' | 'Fuse options' | 'Miscellaneous'

export interface CliOption {
  readonly type: CliType
  readonly short?: string
  /** Another long name. */
  readonly alias?: string
  /** What the help calls the argument. */
  readonly argument?: string
  /** The argument may be left out, and is only taken after `=`; this is its value then. */
  readonly bare?: string
  readonly default?: string
  readonly min?: number
  readonly max?: number
  readonly values?: readonly string[]
  /** Text of the error for a wrong value, `%s` being the value. */
  readonly badValue?: string
  /** May be given several times; all values count. */
  readonly repeat?: true
  readonly hidden?: true
  readonly group: CliGroup
  readonly help: string
  /** Accepted because scripts pass it, but it changes nothing here; the reason is logged. */
  readonly noEffect?: string
  /** Not supported: giving it (with any value but those of `refuseUnless`) is an error. */
  readonly refuse?: string
  /** Typed values that are harmless although the option is refused. */
  readonly refuseUnless?: readonly unknown[]
}

const basic = 'Basic options'
const advanced = 'Advanced options'
const fuse = 'Fuse options'
const misc = 'Miscellaneous'

const ONE_THREAD = 'this client runs on one event loop'
const DAEMON_ONLY = 'only glusterd starts processes that need it'

function define<const T extends Readonly<Record<string, CliOption>>>(table: T): T {
  return table
}

export const cliOptions = define({
  'volfile-server': {
    type: 'str',
    short: 's',
    argument: 'SERVER',
    repeat: true,
    group: basic,
    help: 'server to fetch the volfile from; a socket path with transport unix; repeat for backups',
  },
  volfile: {
    type: 'str',
    short: 'f',
    alias: 'spec-file',
    argument: 'VOLFILE',
    group: basic,
    help: 'read the volfile from this file (default /etc/glusterfs/glusterfs.vol)',
  },
  'log-level': {
    type: 'str',
    short: 'L',
    argument: 'LEVEL',
    default: 'INFO',
    values: ['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL', 'TRACE', 'NONE'],
    badValue: 'unknown log level %s',
    group: basic,
    help: 'DEBUG, INFO, WARNING, ERROR, CRITICAL, TRACE or NONE',
  },
  'log-file': {
    type: 'str',
    short: 'l',
    argument: 'LOGFILE',
    group: basic,
    help: 'log to this file (default: named after the mount point, in the log directory)',
  },
  logger: {
    type: 'str',
    argument: 'LOGGER',
    default: 'gluster-log',
    values: ['gluster-log', 'syslog'],
    badValue: "unknown logger '%s' (gluster-log)",
    group: basic,
    help: 'logging sub-system: gluster-log',
    refuse: 'logging to syslog is not supported; use --log-file',
    refuseUnless: ['gluster-log'],
  },
  'log-format': {
    type: 'str',
    argument: 'FORMAT',
    default: 'with-msg-id',
    values: ['with-msg-id', 'no-msg-id', 'json'],
    badValue: "unknown log format '%s' (with-msg-id, no-msg-id, json)",
    group: basic,
    help: 'json: one JSON object a line; with-msg-id and no-msg-id: text',
  },
  'log-buf-size': {
    type: 'int',
    argument: 'COUNT',
    default: '5',
    min: 0,
    max: 20,
    group: basic,
    help: 'messages held back to merge repeats',
    noEffect: 'only a message that repeats the one before it is merged',
  },
  'log-flush-timeout': {
    type: 'int',
    argument: 'SECONDS',
    default: '120',
    min: 30,
    max: 300,
    group: basic,
    help: 'how long repeats of a message are merged',
  },
  'volfile-id': {
    type: 'str',
    argument: 'KEY',
    group: advanced,
    help: 'volfile to fetch from the server: the name of the volume',
  },
  'volfile-server-port': {
    type: 'int',
    argument: 'PORT',
    default: '24007',
    min: 1,
    max: 65535,
    group: advanced,
    help: 'port of the volfile server',
  },
  'volfile-server-transport': {
    type: 'str',
    argument: 'TRANSPORT',
    default: 'tcp',
    values: ['tcp', 'socket', 'unix', 'inet', 'inet6'],
    badValue: "unsupported volfile server transport '%s' (tcp, unix)",
    group: advanced,
    help: 'transport to the volfile server: tcp or unix',
  },
  'volfile-check': {
    type: 'flag',
    group: advanced,
    help: 'strict volfile checking',
    noEffect: 'volfiles are always checked strictly',
  },
  'volfile-max-fetch-attempts': {
    type: 'int',
    argument: 'COUNT',
    min: 0,
    hidden: true,
    group: advanced,
    help: 'obsolete',
    noEffect: 'obsolete: every server is tried once',
  },
  'subdir-mount': {
    type: 'str',
    argument: '/DIR',
    group: advanced,
    help: 'mount this directory of the volume',
  },
  'volume-name': {
    type: 'str',
    argument: 'XLATOR',
    group: advanced,
    help: 'mount this translator of the volfile instead of the last one (written /NAME)',
  },
  'xlator-option': {
    type: 'str',
    argument: 'XLATOR.KEY=VALUE',
    repeat: true,
    group: advanced,
    help: 'set an option of the translators whose name matches the pattern XLATOR',
  },
  'pid-file': {
    type: 'str',
    short: 'p',
    argument: 'PIDFILE',
    group: advanced,
    help: 'write the process id to this file and keep it locked',
  },
  'socket-file': {
    type: 'str',
    short: 'S',
    argument: 'SOCKFILE',
    group: advanced,
    help: 'management socket',
    refuse: DAEMON_ONLY,
  },
  'no-daemon': { type: 'flag', short: 'N', group: advanced, help: 'run in the foreground' },
  debug: {
    type: 'flag',
    group: advanced,
    help: 'run in the foreground and log at level DEBUG to standard error',
  },
  'run-id': {
    type: 'str',
    argument: 'ID',
    hidden: true,
    group: advanced,
    help: 'name of a test run',
    noEffect: 'the log file is always written under its own name',
  },
  'localtime-logging': {
    type: 'flag',
    group: advanced,
    help: 'local time instead of UTC in the log',
  },
  'secure-mgmt': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    group: advanced,
    help: 'TLS to glusterd (default: on if /var/lib/glusterd/secure-access exists)',
  },
  'read-only': { type: 'flag', group: advanced, help: 'mount read-only' },
  acl: {
    type: 'flag',
    group: advanced,
    help: 'POSIX access control lists',
  },
  selinux: { type: 'flag', group: advanced, help: 'SELinux labels' },
  capability: { type: 'flag', group: advanced, help: 'file capabilities' },
  worm: {
    type: 'flag',
    group: advanced,
    help: 'write once, read many',
    noEffect: 'as in stock: the bricks enforce it, when features.worm is on for the volume',
  },
  'aux-gfid-mount': {
    type: 'flag',
    group: advanced,
    help: 'access by gfid below /.gfid',
  },
  'thin-client': {
    type: 'flag',
    group: advanced,
    help: 'connect through gfproxyd',
    refuse: 'gfproxy is not supported; mount the volume itself',
  },
  'enable-ino32': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    group: advanced,
    help: '32-bit inode numbers',
  },
  'mac-compat': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    group: advanced,
    help: 'for macOS servers of network shares',
    refuse: 'features/mac-compat is not supported',
    refuseUnless: [false],
  },
  'global-threading': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    group: advanced,
    help: 'one thread pool for all translators',
    noEffect: ONE_THREAD,
  },
  'global-timer-wheel': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    group: advanced,
    help: 'one timer wheel',
    noEffect: ONE_THREAD,
  },
  'brick-mux': {
    type: 'flag',
    group: advanced,
    help: 'brick multiplexing',
    refuse: 'a client has no bricks to multiplex',
  },
  'io-engine': {
    type: 'str',
    argument: 'ENGINE',
    bare: '',
    group: advanced,
    help: 'I/O engine',
    noEffect: ONE_THREAD,
  },
  'oom-score-adj': {
    type: 'int',
    argument: 'NUMBER',
    min: -1000,
    max: 1000,
    group: advanced,
    help: 'oom_score_adj of the process',
  },
  'busy-poll': {
    type: 'int',
    argument: 'MICROSECONDS',
    min: 0,
    max: 10_000,
    group: advanced,
    help: `do not sleep for so long while answers come that fast; 0 = never (default ${BUSY_POLL_US}, not in stock)`,
  },
  'no-mem-accounting': {
    type: 'flag',
    hidden: true,
    group: advanced,
    help: 'no memory accounting',
    noEffect: 'memory is not accounted for by type',
  },
  'process-name': {
    type: 'str',
    argument: 'NAME',
    hidden: true,
    group: advanced,
    help: 'what the bricks are told this process is',
  },
  'brick-name': {
    type: 'str',
    argument: 'NAME',
    hidden: true,
    group: advanced,
    help: 'brick to serve',
    refuse: 'this is a client; bricks are served by glusterfsd',
  },
  'brick-port': {
    type: 'int',
    argument: 'PORT',
    hidden: true,
    group: advanced,
    help: 'port to serve a brick on',
    refuse: 'this is a client; bricks are served by glusterfsd',
  },
  'print-exports': {
    type: 'str',
    short: 'e',
    argument: 'FILE',
    group: advanced,
    help: 'check an exports file',
    refuse: 'the NFS server is not part of this client',
  },
  'print-netgroups': {
    type: 'str',
    short: 'n',
    argument: 'FILE',
    group: advanced,
    help: 'check a netgroups file',
    refuse: 'the NFS server is not part of this client',
  },
  'print-xlatordir': { type: 'flag', group: advanced, help: 'print the translator directory' },
  'print-statedumpdir': { type: 'flag', group: advanced, help: 'print the state dump directory' },
  'print-logdir': { type: 'flag', group: advanced, help: 'print the log directory' },
  'print-libexecdir': { type: 'flag', group: advanced, help: 'print the libexec directory' },
  'direct-io-mode': {
    type: 'bool-or-auto',
    argument: 'BOOL|auto',
    bare: 'on',
    default: 'auto',
    group: fuse,
    help: 'bypass the page cache',
  },
  'entry-timeout': {
    type: 'double',
    argument: 'SECONDS',
    default: '1',
    min: 0,
    group: fuse,
    help: 'how long the kernel trusts names',
  },
  'attribute-timeout': {
    type: 'double',
    argument: 'SECONDS',
    default: '1',
    min: 0,
    group: fuse,
    help: 'how long the kernel trusts attributes',
  },
  'negative-timeout': {
    type: 'double',
    argument: 'SECONDS',
    default: '0',
    min: 0,
    group: fuse,
    help: 'how long the kernel trusts that a name does not exist',
  },
  'gid-timeout': {
    type: 'int',
    argument: 'SECONDS',
    default: '300',
    min: -1,
    group: fuse,
    help: 'how long the groups of a process are remembered',
  },
  'resolve-gids': {
    type: 'flag',
    group: fuse,
    help: 'groups of a user from the user database instead of the process',
  },
  'fopen-keep-cache': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    group: fuse,
    help: 'keep cached pages when a file is opened',
  },
  'auto-invalidation': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    group: fuse,
    help: 'let the kernel drop pages when attributes show a change (default on)',
  },
  'use-readdirp': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    default: 'on',
    group: fuse,
    help: 'directory listings carry attributes',
  },
  'prime-lookups': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    default: 'on',
    group: fuse,
    help: 'list a directory of which many names are looked up (not in stock)',
  },
  'kernel-writeback-cache': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    default: 'off',
    group: fuse,
    help: 'write-back cache of the kernel',
  },
  'attr-times-granularity': {
    type: 'int',
    argument: 'NS',
    bare: '0',
    min: 0,
    max: 1_000_000_000,
    group: fuse,
    help: 'granularity of time stamps, for the kernel write-back cache',
  },
  'lru-limit': {
    type: 'int',
    argument: 'COUNT',
    default: '65536',
    min: 0,
    group: fuse,
    help: 'inodes kept for the kernel',
  },
  'invalidate-limit': {
    type: 'int',
    argument: 'COUNT',
    default: '0',
    min: 0,
    group: fuse,
    help: 'outstanding invalidations that suspend those of lru-limit',
  },
  'background-qlen': {
    type: 'int',
    argument: 'COUNT',
    default: '64',
    min: 16,
    max: 65535,
    group: fuse,
    help: 'background requests of the kernel',
  },
  'congestion-threshold': {
    type: 'int',
    argument: 'COUNT',
    default: '48',
    min: 12,
    max: 65535,
    group: fuse,
    help: 'background requests above which the kernel calls the mount congested',
  },
  'no-root-squash': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    group: fuse,
    help: 'act as a trusted client that bricks do not squash',
  },
  'reader-thread-count': {
    type: 'int',
    argument: 'COUNT',
    bare: '1',
    default: '1',
    min: 1,
    max: 64,
    badValue: 'Invalid reader thread count %s. Valid range: ["1, 64"]',
    group: fuse,
    help: 'threads that read from the kernel',
    noEffect: ONE_THREAD,
  },
  'event-history': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'off',
    default: 'off',
    group: fuse,
    help: 'ring of the last events',
    noEffect: 'no event history is kept',
  },
  'dump-fuse': {
    type: 'str',
    argument: 'PATH',
    group: fuse,
    help: 'record every message from and to the kernel in this file',
  },
  'client-pid': {
    type: 'int',
    argument: 'PID',
    hidden: true,
    group: fuse,
    help: 'process id shown to the bricks for every request',
  },
  'user-map-root': {
    type: 'str',
    argument: 'USER',
    hidden: true,
    group: fuse,
    help: 'user that acts as root',
  },
  'fuse-mountopts': {
    type: 'str',
    argument: 'OPTIONS',
    hidden: true,
    group: fuse,
    help: 'further mount options, comma separated',
  },
  'fs-display-name': {
    type: 'str',
    argument: 'NAME',
    hidden: true,
    group: fuse,
    help: 'what mount tables show as source',
  },
  'fuse-flush-handle-interrupt': {
    type: 'bool',
    argument: 'BOOL',
    bare: 'on',
    hidden: true,
    group: fuse,
    help: 'for tests of FUSE interrupts',
    noEffect: 'interrupts of FLUSH are answered as any other',
  },
  'fuse-dev-eperm-ratelimit-ns': {
    type: 'int',
    argument: 'NS',
    bare: '10000000',
    min: 0,
    hidden: true,
    group: fuse,
    help: 'pause after EPERM from the device',
    noEffect: 'reads of the device do not fail that way here',
  },
  help: { type: 'flag', short: '?', group: misc, help: 'this help' },
  usage: { type: 'flag', group: misc, help: 'a short usage message' },
  version: { type: 'flag', short: 'V', group: misc, help: 'the version' },
})
