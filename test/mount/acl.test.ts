/** The acl mount option: who may do what, with POSIX ACLs, through our mount and through stock's. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { enterSandbox, type Mount, sh, Volume } from '../lib/sandbox.ts'
import * as sys from '../lib/syscalls.ts'
import { O } from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)

interface User {
  name: string
  uid: number
  gid: number
  groups: number[]
}

// Every one with a uid and gid of its own: groups are remembered by process, uid and gid.
const users: readonly User[] = [
  { name: 'owner', uid: 1000, gid: 1000, groups: [] },
  { name: 'named', uid: 1001, gid: 1001, groups: [] },
  { name: 'in group', uid: 1002, gid: 2000, groups: [] },
  { name: 'in groups', uid: 1003, gid: 1003, groups: [2000, 3000] },
  { name: 'in owner group', uid: 1005, gid: 1005, groups: [1000] },
  { name: 'other', uid: 1004, gid: 1004, groups: [] },
  { name: 'root', uid: 0, gid: 0, groups: [] },
]

/** `setfacl` words, or a mode where there is no ACL. */
const objects: readonly string[] = [
  '0640',
  '0707',
  'u::rwx,u:1001:rwx,g::rx,o::-,m::r',
  'u::rwx,g:2000:rw,g::r,o::x,m::rwx',
  'u::rwx,g:2000:x,g:3000:rwx,g::-,o::rwx,m::rx',
  'u::-,u:1001:-,g::rwx,o::rwx,m::rwx',
  'u::rwx,u:1001:rwx,g::rwx,o::rwx,m::-',
]

/** Where stock allows what no local file system does. */
const stricter: readonly RegExp[] = [
  // Who may write a file may set its times to now, others only its owner (utimensat(2)).
  / times file: EPERM, stock: .*: (0|EACCES)$/,
  // Not even root executes what nobody may (access(2)).
  /^0640: root access rwx file: EACCES, stock: .*: 0$/,
]

const ORIGINAL = [1e9, 0] as const

/** What everybody tries on a file and on a directory; each undoes what it did. */
const onFile: Record<string, (path: string) => number> = {
  read: (path) => opened(path, O.O_RDONLY),
  write: (path) => opened(path, O.O_WRONLY),
  both: (path) => opened(path, O.O_RDWR),
  truncated: (path) => opened(path, O.O_WRONLY | O.O_TRUNC),
  truncate: (path) => sys.truncate(path, 3),
  'access r': (path) => sys.access(path, 4),
  'access w': (path) => sys.access(path, 2),
  'access rwx': (path) => sys.access(path, 7),
  now: (path) => sys.utimens(path, [0, sys.UTIME.NOW], [0, sys.UTIME.NOW]),
  times: (path) => sys.utimens(path, ORIGINAL, ORIGINAL),
  'set user': (path) => sys.setxattr(path, 'user.key', Buffer.from('value')),
  'get user': (path) => lengthOf(sys.getxattr(path, 'user.key')),
  'remove user': (path) => sys.removexattr(path, 'user.key'),
  'get acl': (path) => lengthOf(sys.getxattr(path, 'system.posix_acl_access')),
}

const onDirectory: Record<string, (path: string) => number> = {
  list: (path) => lengthOf(sys.list(path)),
  stat: (path) => lengthOf(sys.stat(`${path}/old`)),
  'access x': (path) => sys.access(path, 1),
  create: (path) => {
    const result = opened(`${path}/new`, O.O_CREAT | O.O_EXCL | O.O_WRONLY)
    return result < 0 ? result : sys.unlink(`${path}/new`)
  },
  mkdir: (path) => sys.mkdir(`${path}/dir`) || sys.rmdir(`${path}/dir`),
  symlink: (path) => sys.symlink('x', `${path}/sym`) || sys.unlink(`${path}/sym`),
  link: (path) => sys.link(`${path}/old`, `${path}/hard`) || sys.unlink(`${path}/hard`),
  rename: (path) =>
    sys.rename(`${path}/old`, `${path}/moved`) || sys.rename(`${path}/moved`, `${path}/old`),
  'default acl': (path) => lengthOf(sys.getxattr(path, 'system.posix_acl_default')),
}

function opened(path: string, flags: number): number {
  const fd = sys.open(path, flags)
  if (fd < 0) return fd
  sys.close(fd)
  return 0
}

const lengthOf = (result: unknown): number => (typeof result === 'number' ? result : 0)

/** Every result as a line. */
function tryAll(dir: string): string[] {
  const lines: string[] = []
  for (const [at, object] of objects.entries()) {
    for (const { name, uid, gid, groups } of users) {
      for (const [table, path] of [
        [onFile, `${dir}/file-${at}`],
        [onDirectory, `${dir}/dir-${at}`],
      ] as const) {
        for (const [what, act] of Object.entries(table)) {
          const result = sys.asUser(uid, gid, groups, () => act(path))
          const kind = table === onFile ? 'file' : 'directory'
          lines.push(`${object}: ${name} ${what} ${kind}: ${sys.errnoName(result)}`)
        }
      }
    }
  }
  return lines
}

async function make(dir: string): Promise<void> {
  const commands = objects.flatMap((object, at) => {
    const paths = `file-${at} dir-${at}`
    const change = /^\d/.test(object) ? `chmod ${object}` : `setfacl --set '${object}'`
    return [
      `mkdir dir-${at}; touch file-${at} dir-${at}/old; chmod 666 dir-${at}/old`,
      `chown 1000:1000 ${paths}; ${change} ${paths}`,
    ]
  })
  await sh(`cd '${dir}'; chmod 755 .; ${commands.join('; ')}`)
}

/** What ACLs make of modes, and modes of ACLs. */
const inheritance = `
set +e; cd "$1"
show() { stat -c '%n %a' "$@"; getfacl -cnp "$@" 2>&1; }
mkdir inherit; setfacl -d --set 'u::rwx,u:1001:rwx,g::rx,g:2000:rwx,o::-,m::rwx' inherit
for mask in 022 077 002; do
  umask $mask
  mkdir inherit/dir-$mask; touch inherit/file-$mask; mkfifo inherit/fifo-$mask
  ln -s x inherit/link-$mask; mkdir -m 700 inherit/private-$mask
done
show inherit inherit/dir-* inherit/file-* inherit/fifo-* inherit/private-*
umask 022; mkdir plain; touch plain/file; show plain plain/file
setfacl -m u:1001:rwx plain/file; show plain/file; chmod 640 plain/file; show plain/file
setfacl -m m::r plain/file; show plain/file; setfacl -b plain/file; show plain/file
setfacl -d -m u:1001:rwx plain/file 2>/dev/null; echo "default on a file: $?"
setfacl -k inherit; show inherit; cp -a inherit/file-022 copied; show copied
as() { local user=$1; shift; setpriv --reuid="$user" --regid="$user" --clear-groups "$@" 2>/dev/null; echo "$user $*: $?"; }
setfacl -m u:1001:rwx plain; sleep 1.1; ls -la . plain >/dev/null; as 1001 touch plain/own; as 1001 setfacl -m u:1002:rw plain/own
as 1001 setfacl -m u:1002:rw plain/file; as 1002 sh -c 'echo x >>plain/own'; as 1004 sh -c 'echo x >>plain/own'
as 1001 setfacl -b plain/own; as 1002 sh -c 'echo x >>plain/own'; as 1001 setfattr -n user.a -v b plain/own
mkdir sticky; chmod 1777 sticky; as 1001 touch sticky/a; as 1002 rm -f sticky/a; as 1002 mv sticky/a sticky/b
as 1001 mv sticky/a sticky/c; as 1001 rm sticky/c
as 1001 chown 1002 plain/own; as 1001 chmod 4755 plain/own; as 1002 chmod 600 plain/own
# Stock shows the ACL of before a chmod for as long as it caches it.
sleep 1.1; show plain/own; exit 0
`

describe('with -o acl', { skip, timeout: 120_000 }, () => {
  const mounts: Mount[] = []

  test('the same may be done as with stock', async () => {
    for (const kind of ['stock', 'ours'] as const) {
      const volume = await Volume.create(`acl-${kind}`, { bricks: 2 })
      const mount = await volume.mount(kind, ['--acl', '--entry-timeout=0'])
      mounts.push(mount)
      await make(mount.dir)
    }
    const [stock, ours] = mounts.map(({ dir }) => tryAll(dir))
    const differences = ours!
      .map((line, at) => (line === stock![at] ? '' : `${line}, stock: ${stock![at]}`))
      .filter((line) => line !== '' && !stricter.some((pattern) => pattern.test(line)))
    assert.deepEqual(differences, [])
    assert.ok(ours!.filter((line) => line.endsWith('EACCES')).length > 200, 'something is refused')
  })

  test('ACLs and modes of new and changed objects are the same', async () => {
    const [stock, ours] = await Promise.all(
      mounts.map(async ({ dir }) => (await sh(inheritance.replace('"$1"', `'${dir}'`))).stdout),
    )
    assert.equal(ours, stock)
    for (const mount of mounts) await mount.unmount()
  })
})
