export declare const NODE_MAJOR_MIN: number
export declare const NODE_FLAGS: readonly string[]
export declare const ENVIRONMENT: Readonly<Record<string, string>>
