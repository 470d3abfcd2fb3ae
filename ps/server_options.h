/* What a server is started with, checked and with its defaults in place. */
#ifndef HR_SERVER_OPTIONS_H
#define HR_SERVER_OPTIONS_H

#include <hotrow/server.h>

/* Makes the save directory if it is not there.
 *
 *   HOTROW_ERR_INVALID  the sentence names the option and its value
 *   HOTROW_ERR_STORAGE  the save directory cannot be made, or written to */
hotrow_status hr_server_options_resolve(const hotrow_server_options *given, hotrow_server_options *o);

#endif
