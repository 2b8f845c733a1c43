/** Programs people run, unchanged, on our mount of a distributed volume. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { volumeInState } from '../lib/disperse-volume.ts'
import { givenOptions } from '../lib/option-sets.ts'
import { replicatedInState } from '../lib/replicate-volume.ts'
import { enterSandbox, type Mount, ours, run, sh, space, Volume } from '../lib/sandbox.ts'
import { pattern } from './matrix/case.ts'

const skip = await enterSandbox(import.meta.url)

/** Another volume than a distributed one: `4+2 degraded`, `replica 3 without 1`. */
const shape = process.env.PROGRAMS_SHAPE
const REPLICA = 'replica '
/** In the large directory. */
const fileCount = Number(process.env.PROGRAMS_FILES ?? 20_000)

async function makeVolume(): Promise<{ volume: Volume; degrade: () => Promise<void> }> {
  if (shape?.startsWith(REPLICA)) return replicatedInState('vp', shape.slice(REPLICA.length))
  if (shape !== undefined) return volumeInState('vp', shape)
  const volume = await Volume.create('vp', { bricks: 2, set: givenOptions() })
  return { volume, degrade: async () => {} }
}

/** A reason to skip the test of a program that is not installed. */
function without(program: string): string | false {
  if (skip !== false) return skip
  return spawnSync('which', [program]).status === 0 ? false : `needs ${program}`
}

/** A source tree: nested directories, files of many sizes, links, odd modes and old times. */
async function makeTree(dir: string): Promise<void> {
  mkdirSync(dir, { recursive: true })
  for (let d = 0; d < 8; d++) {
    mkdirSync(`${dir}/part ${d}/deeper/still`, { recursive: true })
    for (let i = 0; i < 25; i++) {
      const size = [0, 1, 100, 4096, 5000, 70_000, 200_000][(d + i) % 7]!
      const below = ['', 'deeper/', 'deeper/still/'][i % 3]!
      writeFileSync(`${dir}/part ${d}/${below}file-${i}.dat`, pattern(size, d * 100 + i))
    }
  }
  await sh(
    `cd '${dir}'
     ln "part 0/file-0.dat" "part 1/hard link"
     ln -s "../part 0/file-3.dat" "part 2/symbolic"
     ln -s /nowhere dangling
     mkfifo pipe
     chmod 600 "part 3/file-0.dat"; chmod 4755 "part 3/file-3.dat"; chmod 1777 "part 4"
     chown 1000:1001 "part 5/file-0.dat"
     setfattr -n user.colour -v blue "part 6/file-0.dat"
     truncate -s 3M sparse; printf end >>sparse
     find . -depth -exec touch -h -d '2020-02-03 04:05:06.123456789' {} +`,
  )
}

/** Names, types, modes, owners, sizes, link counts, times and checksums, one line each. */
async function listed(dir: string): Promise<string> {
  const result = await sh(
    `cd '${dir}'
     find . -printf '%p|%y|%m|%U|%G|%n|%T@|%l' \\( -type d -printf '\\n' -o -printf '|%s\\n' \\) |
       awk -F'|' -v OFS='|' '$2 == "d" { $6 = "" } { print }' | sort
     find . -type f -print0 | sort -z | xargs -0 sha256sum`,
  )
  return result.stdout
}

describe('programs', { skip, timeout: 420_000 }, () => {
  let mount: Mount
  let source: string
  const on = (name: string): string => `${mount.dir}/${name}`

  before(async () => {
    const { volume, degrade } = await makeVolume()
    mount = await volume.mount(ours)
    await degrade()
    source = space('source')
    if (skip === false) await makeTree(source)
  })

  after(() => mount.unmount())

  test('git clone, commit, checkout, fsck', { skip: without('git') }, async () => {
    await sh(`
      export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t
      export GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
      git init -q -b main '${space('repo')}' && cd '${space('repo')}'
      cp -r '${source}'/part* . && git add . && git commit -q -m one
      for i in 1 2 3 4 5; do echo $i >>"part 0/file-3.dat"; git commit -q -a -m "change $i"; done
      git clone -q --no-local '${space('repo')}' '${on('clone')}'
      cd '${on('clone')}' && git fsck --full --strict
      [ -z "$(git status --porcelain)" ]
      git checkout -q -b side HEAD~2 && echo side >side.txt && git add . && git commit -q -m side
      git checkout -q main && git merge -q side -m merged && git gc -q && git fsck --full
      [ "$(git log --oneline | wc -l)" = 8 ] && git diff --quiet HEAD`)
  })

  test('tar in and out keeps bytes and times', { skip: without('tar') }, async () => {
    await sh(`mkdir '${on('untarred')}'
      tar -C '${source}' --xattrs -cf - . | tar -C '${on('untarred')}' --xattrs -xpf -
      mkdir '${space('back')}'
      tar -C '${on('untarred')}' --xattrs -cf - . | tar -C '${space('back')}' --xattrs -xpf -`)
    const expected = await listed(source)
    assert.equal(await listed(on('untarred')), expected)
    assert.equal(await listed(space('back')), expected)
  })

  test('rsync both ways finds nothing more to do', { skip: without('rsync') }, async () => {
    const flags = '-aHAX --checksum --numeric-ids --itemize-changes'
    await sh(`rsync ${flags} '${source}/' '${on('rsynced')}/'`)
    const again = await sh(`rsync ${flags} '${source}/' '${on('rsynced')}/'`)
    assert.equal(again.stdout, '')
    await sh(`rsync ${flags} '${on('rsynced')}/' '${space('rsynced')}/'`)
    assert.equal(await listed(space('rsynced')), await listed(source))
    await sh(`echo changed >>'${source}/part 0/file-3.dat'
      rsync ${flags} --delete '${source}/' '${on('rsynced')}/'
      cmp '${source}/part 0/file-3.dat' '${on('rsynced')}/part 0/file-3.dat'`)
  })

  test('make -j4 of a C project', { skip: without('gcc') }, async () => {
    const files = 40
    mkdirSync(space('project'))
    const write = (name: string, text: string): void =>
      writeFileSync(`${space('project')}/${name}`, text)
    for (let i = 0; i < files; i++) {
      write(`unit${i}.h`, `int unit${i}(int x);\n`)
      const next = i + 1 < files ? `unit${i + 1}(x + ${i})` : 'x'
      const include = i + 1 < files ? `#include "unit${i + 1}.h"\n` : ''
      const body = `${include}#include "unit${i}.h"\n#include <stdio.h>\n`
      write(`unit${i}.c`, `${body}int unit${i}(int x) { return ${next}; }\n`)
    }
    write(
      'main.c',
      '#include <stdio.h>\n#include "unit0.h"\nint main(void) { printf("%d\\n", unit0(1)); }\n',
    )
    const objects = Array.from({ length: files }, (_, i) => `unit${i}.o`).join(' ')
    write(
      'Makefile',
      `all: prog\nprog: main.o ${objects}\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -c -o $@ $<\n`,
    )
    const output = await sh(`cp -r '${space('project')}' '${on('project')}' && cd '${on('project')}'
      make -s -j4 && ./prog && touch unit3.c && make -s -j4 && make -q && ./prog`)
    const sum = 1 + ((files - 1) * (files - 2)) / 2
    assert.equal(output.stdout, `${sum}\n${sum}\n`)
  })

  test('sqlite3 from two processes', { skip: without('sqlite3') }, async () => {
    const db = on('data.db')
    const insert = (who: string): Promise<unknown> =>
      sh(`for i in $(seq 40); do
            sqlite3 -cmd '.timeout 20000' '${db}' "begin immediate; insert into t values ('${who}', $i);
              update c set n = n + 1; commit;"
          done`)
    await sh(
      `sqlite3 '${db}' 'create table t (who, i); create table c (n); insert into c values (0)'`,
    )
    await Promise.all([insert('one'), insert('two')])
    const query =
      'pragma integrity_check; select n from c; select who, count(*), sum(i) from t group by 1'
    const result = await sh(`sqlite3 '${db}' '${query}'`)
    assert.equal(result.stdout, 'ok\n80\none|40|820\ntwo|40|820\n')
    await sh(`sqlite3 '${on('wal.db')}' "pragma journal_mode=truncate; create table t (x);
      with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
      insert into t select hex(randomblob(20)) from n; create index x on t (x); vacuum;
      pragma integrity_check" | tail -1 | grep -qx ok`)
  })

  for (const direct of [0, 1]) {
    const name = `fio --verify, 4 jobs, ${direct ? 'O_DIRECT' : 'through the page cache'}`
    test(name, { skip: without('fio') }, async () => {
      await sh(`mkdir '${on(`fio${direct}`)}'`)
      const words = [
        'fio',
        '--name=verify',
        `--directory=${on(`fio${direct}`)}`,
        '--rw=randwrite',
        '--bs=4k',
        '--size=4m',
        '--numjobs=4',
        '--verify=crc32c',
        '--verify_fatal=1',
        '--do_verify=1',
        '--end_fsync=1',
        `--direct=${direct}`,
        '--group_reporting',
      ]
      await run(words, { cwd: space('') })
    })
  }

  test(`${fileCount} files in one directory`, async (t) => {
    const began = clock.now()
    const took: string[] = []
    const step = (name: string): void =>
      void took.push(`${name} at ${Math.round(clock.now() - began)} ms`)
    await sh(
      `mkdir '${on('many')}' && cd '${on('many')}' && seq -f 'file-%.0f' ${fileCount} | xargs -n 2500 -P 4 touch`,
    )
    step('created')
    const plain = await sh(
      `ls -f '${on('many')}' | sort | uniq | wc -l; ls -f '${on('many')}' | wc -l`,
    )
    assert.equal(plain.stdout, `${fileCount + 2}\n${fileCount + 2}\n`)
    step('listed')
    const long = await sh(`ls -l '${on('many')}' | grep -c '^-rw-r--r-- 1 '`)
    assert.equal(long.stdout, `${fileCount}\n`)
    step('listed with attributes')
    await sh(`rm -r '${on('many')}'`)
    step('removed')
    t.diagnostic(took.join(', '))
  })
})
