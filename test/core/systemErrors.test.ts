import { open } from 'node:fs/promises'
import { constants } from 'node:os'
import { expect, test } from 'vitest'
import { inWords } from '../../shared/systemErrors.ts'

const errorOf = (code: string) => Object.assign(new Error(`${code}: raw words, open '/x'`), { code })

test('what a system call reports is told in words, with its code', async () => {
  const missing = await open('/nonexistent/file').catch((error: unknown) => error)
  expect(inWords(missing)).toBe('it does not exist (ENOENT)')
  expect(inWords(errorOf('ENOSPC'))).toBe('the disk is full (ENOSPC)')
})

test('what is no such error keeps its words', () => {
  expect(inWords(new Error('no luck'))).toBe('no luck')
  expect(inWords(Object.assign(new Error('no luck'), { code: 'ERR_OF_OURS' }))).toBe('no luck')
  expect(inWords('thrown')).toBe('thrown')
})

// What files, directories, sockets and processes can come to; the rest is of calls that the supervisor never makes.
const possible = Object.keys(constants.errno).filter((code) =>
  /^E(ACCES|ADDR|AGAIN|BUSY|CONN|DQUOT|EXIST|FBIG|HOSTUNREACH|IO|ISDIR|LOOP|MFILE|MLINK|NAMETOOLONG|NETUNREACH|NFILE|NODEV|NOENT|NOEXEC|NOMEM|NOSPC|NOTCONN|NOTDIR|NOTEMPTY|PERM|PIPE|ROFS|SRCH|TIMEDOUT|TXTBSY|XDEV)/.test(
    code,
  ),
)

test.each(possible)('%s has words', (code) => {
  expect(inWords(errorOf(code))).toMatch(new RegExp(`^[a-z][^:]+ \\(${code}\\)$`))
})
