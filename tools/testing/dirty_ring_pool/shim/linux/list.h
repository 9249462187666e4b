/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_LIST_H
#define SHIM_LIST_H

#include <urcu/list.h>

#define list_head				cds_list_head
#define LIST_HEAD(name)				CDS_LIST_HEAD(name)
#define list_add_tail(new, head)		cds_list_add_tail(new, head)
#define list_del(elem)				cds_list_del(elem)
#define list_for_each_entry(pos, head, member)	\
	cds_list_for_each_entry(pos, head, member)

#endif
