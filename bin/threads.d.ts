export declare function threadsOf(pid: number): string[] | undefined
export declare function isStopped(pid: number): boolean
