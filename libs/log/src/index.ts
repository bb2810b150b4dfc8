export { collectLogs, type LogCollector } from './collect-logs.ts';
export { createLogger, isLogLevel, LOG_LEVELS, type Logger, type LoggerOptions, type LogLevel } from './logger.ts';
