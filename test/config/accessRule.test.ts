import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readAccessRule } from '../../shared/accessRule.ts'
import { AccessRule } from '../../shared/protocol.ts'

describe('a rule of allow:', () => {
  it.each([
    ['alice@example.com', { path: '/', kind: 'login', value: 'alice@example.com' }],
    ['login:bob', { path: '/', kind: 'login', value: 'bob' }],
    ['*@Example.com', { path: '/', kind: 'domain', value: 'example.com' }],
    ['tag:ops', { path: '/', kind: 'tag', value: 'tag:ops' }],
    ['node:Laptop-2', { path: '/', kind: 'node', value: 'laptop-2' }],
    ['cap:example.com/cap/wiki', { path: '/', kind: 'capability', value: 'example.com/cap/wiki' }],
    ['anyone', { path: '/', kind: 'anyone', value: '' }],
    ['  /admin/x   tag:ops ', { path: '/admin/x', kind: 'tag', value: 'tag:ops' }],
  ])('%s', (text, rule) => {
    expect(readAccessRule(text)).toEqual({ rule })
  })

  it.each([
    ['', 'it says nobody'],
    ['/admin', 'it is a path and says nobody'],
    ['admins', '"admins" is no login'],
    ['everyone', '"everyone" is no login'],
    ['group:ops', '"group:ops" is no login'],
    ['a@b@c', '"a@b@c" is no login'],
    ['*', 'only *@domain has a star'],
    ['*@*', '"*@*" is no domain'],
    ['tag:', '"tag:" is no tag'],
    ['node:a.b.ts.net', '"node:a.b.ts.net" is no node name'],
    ['/a%2Fb anyone', 'the path /a%2Fb has a "?", "#", "%", ";", backslash or control character'],
    ['/a/../b anyone', 'a part of the path /a/../b ends in a dot'],
    ['/a;x anyone', 'the path /a;x has a "?", "#", "%", ";", backslash or control character'],
    ['anyone tag:ops', 'there is a space in it'],
  ])('refused: %j', (text, problem) => {
    expect(readAccessRule(text)).toEqual({ problem: expect.stringContaining(`${problem}; `) as string })
  })

  it('is a rule of the protocol or a problem with a hint, whatever is written', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^(\/\S* )?(tag|node|cap|login|anyone|\*@)?:?\S*$/)), (text) => {
        const read = readAccessRule(text)
        if ('rule' in read) expect(AccessRule.parse(read.rule)).toEqual(read.rule)
        else expect(read.problem).toMatch(/.; ./s)
      }),
      { numRuns: 500 },
    )
  })
})
