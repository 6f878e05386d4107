import type { AuditPage, AuditQuery } from '../api/audit.ts'
import type { NewShare, ShareMade, Shares } from '../api/shares.ts'
import type { NewToken, TokenMade, Tokens } from '../api/tokens.ts'
import type { NewUser, User, UserChange, UserMade, Users } from '../api/users.ts'
import { request } from './api.ts'

/** Users, tokens, shares and the audit log, of the API. */

type Whose = 'mine' | 'all'

export const users = (signal?: AbortSignal) => request<Users>('GET', '/users', { signal })
export const addUser = (body: NewUser) => request<UserMade>('POST', '/users', { body })
export const changeUser = (name: string, body: UserChange) =>
  request<User>('PATCH', `/users/${encodeURIComponent(name)}`, { body })
/** @returns the password that was made */
export const newPassword = (name: string) =>
  request<{ readonly password: string | null }>('PUT', `/users/${encodeURIComponent(name)}/password`, {
    body: {},
  })
export const removeUser = (name: string) => request<void>('DELETE', `/users/${encodeURIComponent(name)}`)
export const changeOwnPassword = (body: { readonly current: string; readonly password: string }) =>
  request<void>('PUT', '/me/password', { body })

export const tokens = (whose: Whose, signal?: AbortSignal) =>
  request<Tokens>('GET', '/tokens', { query: { whose }, signal })
export const makeToken = (body: NewToken) => request<TokenMade>('POST', '/tokens', { body })
export const revokeToken = (id: string) => request<void>('DELETE', `/tokens/${encodeURIComponent(id)}`)

export const shares = (whose: Whose, signal?: AbortSignal) =>
  request<Shares>('GET', '/shares', { query: { whose }, signal })
export const makeShare = (body: NewShare) => request<ShareMade>('POST', '/shares', { body })
export const revokeShare = (id: string) => request<void>('DELETE', `/shares/${encodeURIComponent(id)}`)

export const audit = (query: AuditQuery, signal?: AbortSignal) =>
  request<AuditPage>('GET', '/audit', { query, signal })
