import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type MountCommand, mountCommand, remountWords } from '../../../src/cli/mount-options.ts'
import { parseCommandLine } from '../../../src/cli/options.ts'
import { GlusterError } from '../../../src/core/errors.ts'

function map(options: string, device = 'h:/v', isFile = false): MountCommand {
  return mountCommand(device, options, isFile)
}

/** Arguments besides those every mount of h:/v has. */
function extra(options: string): string[] {
  const usual = ['--process-name', 'fuse', '--volfile-server=h', '--volfile-id=/v']
  return map(options).args.filter((word) => !usual.includes(word))
}

function refused(options: string, device = 'h:/v'): string {
  try {
    map(options, device)
  } catch (error) {
    assert.ok(error instanceof GlusterError, String(error))
    return error.message
  }
  return assert.fail(`accepted: ${options}`)
}

describe('the device', () => {
  const devices: [string, string[], string, string | undefined][] = [
    ['h:/v', ['h'], '/v', undefined],
    ['h:v', ['h'], 'v', undefined],
    ['h:/v/', ['h'], '/v', undefined],
    ['h:/v/sub/dir', ['h'], '/v', '/sub/dir'],
    ['h:v/sub/', ['h'], 'v', '/sub'],
    ['h:/v/a:b', ['h'], '/v', '/a:b'],
    ['h1,h2,h3:/v', ['h1', 'h2', 'h3'], '/v', undefined],
    ['fe80::1:/v', ['fe80::1'], '/v', undefined],
    ['[fe80::1]:/v', ['fe80::1'], '/v', undefined],
    ['h:/snaps/s/v', ['h'], '/snaps/s/v', undefined],
  ]
  for (const [device, servers, id, subdir] of devices) {
    test(device, () => {
      const { values } = parseCommandLine(map('', device).args)
      assert.deepEqual(values['volfile-server'], servers)
      assert.equal(values['volfile-id'], id)
      assert.equal(values['subdir-mount'], subdir)
      assert.equal(values['process-name'], 'fuse')
      assert.equal(values['read-only'], device.includes('/snaps/'))
    })
  }

  test('a volfile', () => {
    assert.deepEqual(map('ro', '/etc/my.vol', true).args, [
      '--read-only',
      '--process-name',
      'fuse',
      '--volfile=/etc/my.vol',
    ])
  })

  test('a name of 64 characters is left out, with a warning', () => {
    const long = 'x'.repeat(64)
    const { args, warnings } = map('', `${long},h:/v`)
    assert.ok(args.includes('--volfile-server=h'))
    assert.ok(!args.some((word) => word.includes(long)))
    assert.equal(warnings.length, 1)
  })

  for (const device of ['h', 'h:', ':/v', 'h:/', '/v']) {
    test(`refused: ${device}`, () => {
      assert.match(refused('', device), /^ERROR: Server name\/volume name unspecified/)
    })
  }
})

describe('-o', () => {
  const mapped: [string, string[]][] = [
    ['', []],
    ['rw,auto,noauto,_netdev,x-systemd.automount,defaults', []],
    ['ro', ['--read-only']],
    ['acl', ['--acl']],
    ['resolve-gids,selinux', ['--resolve-gids', '--selinux']],
    ['log-level=debug', ['--log-level=DEBUG']],
    ['log-file=/x,lru-limit=5', ['--log-file=/x', '--lru-limit=5']],
    ['direct-io-mode=disable', ['--direct-io-mode=disable']],
    ['xlator-option=*dht.a=b', ['--xlator-option=*dht.a=b']],
    ['server-port=1', ['--volfile-server-port=1']],
    ['fetch-attempts=3', ['--volfile-max-fetch-attempts=3']],
    ['volfile-check', ['--volfile-check']],
    ['fopen-keep-cache', ['--fopen-keep-cache']],
    ['fopen-keep-cache=off', ['--fopen-keep-cache=off']],
    ['no-root-squash=yes', ['--no-root-squash']],
    ['no-root-squash=no', []],
    ['root-squash=no', ['--no-root-squash']],
    ['root-squash=yes', []],
    ['halo-max-latency=5', ['--xlator-option=*replicate*.halo-max-latency=5']],
    ['noatime,nodev', ['--fuse-mountopts=noatime,nodev']],
    ['nosuid,fuse-mountopts=max_read=4096', ['--fuse-mountopts=nosuid,max_read=4096']],
    ['context="a:b:c0,c1"', ['--fuse-mountopts=context="a:b:c0,c1"']],
    ['auto_unmount', ['--fuse-mountopts=auto_unmount']],
    ['backup-volfile-servers=a:b', ['--volfile-server=a', '--volfile-server=b']],
    ['backup-volfile-servers=[fe80::1]:b', ['--volfile-server=fe80::1', '--volfile-server=b']],
    ['backupvolfile-server=a', ['--volfile-server=a']],
    ['backup-volfile-servers=a,backupvolfile-server=b', ['--volfile-server=a']],
    ['subdir-mount=/x', ['--subdir-mount=/x']],
  ]
  for (const [options, args] of mapped) {
    test(options || '(none)', () => assert.deepEqual(extra(options), args))
  }

  test('options that replace what the device says', () => {
    const { values } = parseCommandLine(map('volume-id=w,subdir-mount=/b', 'h:/v/a').args)
    assert.equal(values['volfile-id'], 'w')
    assert.equal(values['subdir-mount'], '/b')
  })

  test('transport names the volfile too', () => {
    const { values } = parseCommandLine(map('transport=tcp').args)
    assert.equal(values['volfile-server-transport'], 'tcp')
    assert.equal(values['volfile-id'], '/v.tcp')
  })

  test('process-name', () => {
    assert.ok(map('process-name=x').args.includes('fuse.x'))
  })

  test('every mapping is a command line glusterfs reads', () => {
    for (const [options] of mapped) {
      if (!/acl|transport/.test(options)) parseCommandLine([...map(options).args, '/mnt'])
    }
  })

  test('warnings go on', () => {
    const { args, warnings } = map('sync,nofail,log-level=LOUD')
    assert.deepEqual(warnings, [
      "mount option 'sync' is not handled (yet?)",
      "mount option 'nofail' is not handled (yet?)",
      'invalid log level LOUD, using INFO',
    ])
    assert.ok(args.includes('--log-level=INFO'))
  })

  const wrong: [string, string][] = [
    ['foo', 'Invalid option foo'],
    ['foo=1', 'Invalid option: foo'],
    ['backup-volfile-servers=[a', 'ERROR: Invalid backup-volfile-servers specified.. exiting'],
    ['backup-volfile-servers=a::b', 'ERROR: Invalid backup-volfile-servers specified.. exiting'],
  ]
  for (const [options, message] of wrong) {
    test(`refused: ${options}`, () => assert.equal(refused(options), message))
  }
})

test('a remount changes what the kernel keeps of the mount', () => {
  assert.equal(remountWords('ro,log-level=DEBUG'), undefined)
  assert.deepEqual(remountWords('remount,ro,_netdev,log-level=DEBUG,backup-volfile-servers=a:b'), [
    'ro',
  ])
  assert.deepEqual(remountWords('rw,noexec,nosuid,remount,noatime'), [
    'rw',
    'noexec',
    'nosuid',
    'noatime',
  ])
})
