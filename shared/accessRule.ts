/** The words of `allow:`: "[/path ]who". The worker gets them taken apart (shared/protocol.ts says what they mean). */
import type { AccessRule } from './protocol.ts'

/** What a rule says, or what is wrong with it, with how to write it. */
export type ReadRule = { readonly rule: AccessRule } | { readonly problem: string }

const WHO = 'write a login, *@domain, tag:x, node:x, cap:x or anyone'

/** Reads one entry, such as "alice@example.com", "/admin tag:ops" or "cap:example.com/cap/wiki". */
export function readAccessRule(text: string): ReadRule {
  const [, path = '/', who = ''] = /^(?:(\/\S*)\s+)?(\S.*)?$/s.exec(text.trim()) ?? []
  // What upstreams read in different ways no request could be compared with (worker/internal/access).
  if (/[?#%;\\\p{Cc}]/u.test(path))
    return wrong(`the path ${path} has a "?", "#", "%", ";", backslash or control character`, 'write it as people read it')
  if (/\.(\/|$)/.test(path)) return wrong(`a part of the path ${path} ends in a dot`, 'write it without')
  if (who === '') return wrong('it says nobody', WHO)
  if (who.startsWith('/')) return wrong('it is a path and says nobody', `${WHO} after it`)
  if (/\s/.test(who)) return wrong('there is a space in it', 'one rule names one; write a rule for each')
  if (who === 'anyone') return { rule: { path, kind: 'anyone', value: '' } }

  const [, kind, value = ''] = /^(tag|node|cap|login):(.*)$/.exec(who) ?? []
  switch (kind) {
    case 'tag':
      if (!/^[a-zA-Z][a-zA-Z0-9-]*$/.test(value)) return wrong(`"${who}" is no tag`, 'a letter, then letters, digits and dashes')
      return { rule: { path, kind: 'tag', value: who } }
    case 'node':
      if (!/^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$/.test(value)) {
        return wrong(`"${who}" is no node name`, 'the first part of its name on the tailnet, as in node:laptop')
      }
      return { rule: { path, kind: 'node', value: value.toLowerCase() } }
    case 'cap':
      if (value === '') return wrong('the capability has no name', 'as in cap:example.com/cap/wiki')
      return { rule: { path, kind: 'capability', value } }
    case 'login':
      if (value === '') return wrong('the login has no name', 'as in login:alice')
      return { rule: { path, kind: 'login', value } }
    default:
      return readLogin(path, who)
  }
}

function readLogin(path: string, who: string): ReadRule {
  if (who.startsWith('*@')) {
    const value = who.slice(2).toLowerCase()
    if (value === '' || /[@*]/.test(value)) return wrong(`"${who}" is no domain`, 'as in *@example.com')
    return { rule: { path, kind: 'domain', value } }
  }
  if (who.includes('*')) return wrong('only *@domain has a star', WHO)
  // A word alone is more often a slip (tags:x, group:x, admin) than a login.
  if (!/^[^@:]+@[^@:]+$/.test(who)) return wrong(`"${who}" is no login`, `${WHO}; a login without @ is login:x`)
  return { rule: { path, kind: 'login', value: who } }
}

function wrong(problem: string, hint: string): ReadRule {
  return { problem: `${problem}; ${hint}` }
}
