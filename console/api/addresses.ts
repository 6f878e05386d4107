/** Addresses that answers hold. */

export const API_PREFIX = '/api/v1'

export const pictureAddress = (id: string) => `${API_PREFIX}/detections/${id}/picture`
