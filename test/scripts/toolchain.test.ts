import { describe, expect, test } from 'vitest'
import { goProblem, nodeProblem, parseGoVersion } from '../../scripts/toolchain.ts'

describe('parseGoVersion', () => {
  test.each([
    ['go version go1.26.8 linux/amd64', '1.26.8'],
    ['go version go1.27 linux/arm64', '1.27'],
    ['go version go1.27rc1 linux/amd64', '1.27'],
    ['go version go1.26.8-X:nodwarf5 linux/amd64', '1.26.8'],
    ['go version devel +9e1a2b3 Mon Nov 2 2026 linux/amd64', undefined],
    ['', undefined],
  ])('%j is %s', (output, version) => {
    expect(parseGoVersion(output)).toBe(version)
  })
})

describe('goProblem', () => {
  const go = (number: string, toolchain = 'auto') => goProblem({ version: `go version go${number} linux/amd64`, toolchain })

  test.each([
    ['1.26.6', 'local'],
    ['1.26.8', 'local'],
    ['1.27', 'local'],
    ['1.30.1', 'local'],
    ['1.26.5', 'auto'],
    ['1.21.0', 'go1.26.8+auto'],
    ['1.21', 'auto\n'],
  ])('go %s with GOTOOLCHAIN=%j builds', (number, toolchain) => {
    expect(go(number, toolchain)).toBeUndefined()
  })

  test.each([
    ['1.26.5', 'local', 'unset GOTOOLCHAIN'],
    ['1.9', 'auto', 'https://go.dev/dl/'],
    ['1.20.14', '', 'https://go.dev/dl/'],
  ])('go %s with GOTOOLCHAIN=%j is too old, and the remedy is named', (number, toolchain, remedy) => {
    const problem = go(number, toolchain)
    expect(problem).toContain(`Go ${number} is too old`)
    expect(problem).toContain(remedy)
  })

  test('a missing Go is named with where to get it', () => {
    expect(goProblem({ version: undefined, toolchain: '' })).toMatch(/Go is missing.*https:\/\/go\.dev\/dl\//)
  })
})

describe('nodeProblem', () => {
  test.each(['20.19.0', '20.20.2', '22.1.0', '24.0.0'])('%s is new enough', (version) => {
    expect(nodeProblem(version)).toBeUndefined()
  })
  test.each(['18.20.4', '20.18.3', '20.9.0'])('%s is too old', (version) => {
    expect(nodeProblem(version)).toMatch(new RegExp(`Node ${version} is too old.*https://nodejs.org`))
  })
})
