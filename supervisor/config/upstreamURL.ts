/** What tsnsrv's `upstream` may be: an http, https or h2c URL that both URL parsers, ours and Go's, read the same way. */
import { isHttpURL } from '../../shared/httpURL.ts'
import { withoutUserInfo } from '../../shared/secrets.ts'

/** What is wrong with an upstream and how to write it; undefined when it is good. */
export function upstreamProblem(upstream: string): { problem: string; hint: string } | undefined {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(upstream)?.[1]?.toLowerCase()
  if (/[\s\p{Cc}\\]/u.test(upstream)) return invalid('it contains white space or a backslash', 'a URL writes a space as %20')
  if (scheme === undefined) {
    if (/^unix:|^[@/]/.test(upstream))
      return invalid('it is a path', 'write http://localhost and put the path into upstreamUnixAddr')
    // localhost:8080 parses as a URL of the scheme "localhost", which tsnsrv accepts and then cannot reach.
    return invalid('it has no scheme', `write ${withoutUserInfo(`http://${upstream}`)}`)
  }
  if (!['http', 'https', 'h2c'].includes(scheme)) {
    return invalid(`its scheme is ${scheme}`, 'an upstream speaks http, https, or h2c (HTTP/2 without TLS, as in gRPC)')
  }
  if (!/^(?:https?|h2c):\/\/(?:[^/?#@]*@)?[^/?#@%:][^/?#@%]*(?:[/?#]|$)/i.test(upstream))
    return invalid('it has no host', 'write http://host:port')
  if (/%(?![0-9a-f]{2})/i.test(upstream))
    return invalid('a "%" is not followed by two hexadecimal digits', 'a URL writes "%" as %25')
  // Of a scheme that it does not know, a URL parser checks less.
  if (!isHttpURL(upstream.replace(/^h2c:/i, 'http:')))
    return invalid('host or port are malformed', 'write http://host:port, with a port of at most 65535')
  return undefined
}

function invalid(why: string, hint: string): { problem: string; hint: string } {
  return { problem: `invalid destination URL: ${why}`, hint }
}
