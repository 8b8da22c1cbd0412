import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterEach, beforeEach, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')

let path: string
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'path-'))
})
afterEach(async () => {
  await rm(path, { recursive: true })
})

/** `npm run build` on a machine that has nothing in PATH but what the test put into `path`. */
function build() {
  const args = ['--import', 'tsx', 'scripts/build.ts']
  return execa(process.execPath, args, { cwd: root, env: { PATH: path, NODE_NO_WARNINGS: '1' }, reject: false })
}

test('a machine without Go is told where to get it, and nothing is built', async () => {
  const { exitCode, stdout, stderr } = await build()
  expect(stderr).toMatch(/^Go is missing: .*https:\/\/go\.dev\/dl\/.*$/)
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' })
})

test('a Go that is too old is told so in one line', async () => {
  const go = join(path, 'go')
  await writeFile(go, '#!/bin/sh\ncase "$1" in version) echo "go version go1.19.8 linux/amd64";; env) echo;; *) exit 9;; esac\n')
  await chmod(go, 0o755)
  const { exitCode, stderr } = await build()
  expect(stderr).toMatch(/^Go 1\.19\.8 is too old: the worker needs 1\.26\.6 or newer\. .*$/)
  expect(exitCode).toBe(1)
})
